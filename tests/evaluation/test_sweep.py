"""Sweeps: their files, their cells, what two cells may share, the comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_a2m.core.errors import UserError
from espnet_a2m.evaluation.sweep import (
    Description,
    Sweep,
    find_collisions,
    make_cells,
    read_sweep,
)
from espnet_a2m.evaluation.sweep_report import (
    check_coverage,
    training_table,
)

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
RECIPE = [str(ROOT / "egs2" / "ami" / "a2m1" / "run.sh")]

FAULTY = """
seeds: [1, 2, 1]
refrence: high
reference: hihg
options: {scorer_tagg: s{seed}, stage: 3}
systems:
    high: {ssl_args: [--seed, 1]}
    a/b: {mic: sdm1, pretrain: librispeech_960}
    low: --seed 1
"""


def test_all_faults_of_a_file_are_named_at_once(tmp_path):
    path = tmp_path / "faulty.yaml"
    path.write_text(FAULTY.replace("s{seed}", "s1"))
    with pytest.raises(UserError) as error:
        read_sweep(path, RECIPE)
    first, *faults = str(error.value).splitlines()
    assert first == f"{path}: nothing was run:"
    assert [fault.strip() for fault in faults] == [
        "unknown key 'refrence': did you mean 'reference'?",
        "seeds: one is given twice: [1, 2, 1]",
        "reference: no system 'hihg': did you mean 'high'?",
        "system 'a/b': only letters, digits and . + - _",
        "options: run.sh has no option 'scorer_tagg': did you mean 'scorer_tag'?",
        "options: stage: give it on the command line",
        "system high: ssl_args: expected words, found ['--seed', 1]",
        "system low: expected `option: value` lines",
    ]
    for text, message in (
        ("{}", "systems: expected `name: {option: value}` lines"),
        ("seeds: 3", "seeds: expected a list of integers, found 3"),
        ("seeds: [1, x]", "seeds: expected a list of integers"),
        ("seeds: [1", "not valid YAML"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_sweep(path, RECIPE)
    with pytest.raises(UserError, match="run.sh has no option 'typo'|unknown option"):
        read_sweep(path, [*RECIPE, "--typo", "1"])


def test_cells_have_tags_and_seeds_and_add_to_the_arguments_of_the_recipe():
    sweep = Sweep(
        seeds=[1, 2],
        reference="a",
        options={
            "scorer_args": "--seed {seed}",
            "scorer_tag": "s{seed}",
            "ssl_args": "--lr 1",
            "eval_scorer": False,
            "label_tag": None,
        },
        systems={
            "a": None,
            "b": {"ssl_args": "--masking_conf guidance=low", "ssl_tag": "x_a_{seed}"},
        },
    )
    base = {"scorer_args": "--max_epoch 88", "asr_args": "", "ssl_args": "--q 1"}
    cells = make_cells("x", sweep, base)
    assert [str(cell) for cell in cells] == ["a 1", "a 2", "b 1", "b 2"]
    assert cells[1].options == {
        "ssl_tag": "x_a_2",
        "asr_tag": "x_a_2",
        "scorer_tag": "s2",
        "eval_scorer": "false",
        "label_tag": "",
        "scorer_args": "--max_epoch 88 --seed 2",
        "ssl_args": "--q 1 --seed 2 --lr 1",
        "asr_args": "--seed 2",
    }
    b = cells[2].options
    assert b["ssl_args"] == "--q 1 --seed 1 --lr 1 --masking_conf guidance=low"
    assert (b["ssl_tag"], b["asr_tag"]) == ("x_a_1", "x_b_1")


def test_cells_that_would_write_one_directory_from_different_options():
    def write(**folders: str) -> Description:
        return Description((), "", "", Path(), (), folders)

    cells = {"a 1": write(ssl="x", asr="1"), "b 1": write(ssl="x", asr="2")}
    cells["b 2"] = cells["b 1"]  # one of them is enough
    assert find_collisions(cells) == [
        "a 1 and b 1 would both write asr, from '1' and from '2': give each its own "
        "name (--*_tag, --expdir)"
    ]


def run_of(masked: float, most: float, *nats: float) -> dict:
    train = {
        "masked_fraction": masked,
        "masked_most_confident": most,
        "masked_least_confident": 0.25,
    }
    return {
        epoch: {"train": train, "valid": {"nats_gained_hubert": value}}
        for epoch, value in enumerate(nats, 1)
    }


def test_systems_that_mask_other_shares_of_frames_do_not_compare():
    uniform = [run_of(0.40, 0.25, 0.1), run_of(0.42, 0.25, 0.1)]
    check_coverage({"u": uniform, "high": [run_of(0.405, 0.5, 1)]}, "u")
    message = r"allow_unequal_coverage: true[\s\S]*high masks 0.450 .*, u 0.410$"
    with pytest.raises(UserError, match=message):
        check_coverage({"high": [run_of(0.45, 0.5, 1)], "u": uniform}, "u")


def test_table_of_pre_training():
    runs = {"high": [run_of(0.4, 0.5, 0.5, 1.0, 0.9), run_of(0.4, 0.25, 0.6, 0.7)]}
    row = training_table(runs).splitlines()[2]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == ["high", "2", "0.400", "1.50", "0.800 / 0.850"]
