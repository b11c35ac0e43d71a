"""The AMI and CHiME-6 recipes in miniature through run.sh, from stage 1 to scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.asterisk_sounds import prompts
from helpers.miniature_ami import prompts_as_meetings, write_ami
from helpers.miniature_chime6 import write_session
from helpers.recipes import OPTIONS, ROOT, TINY, copy_recipe, run

from espnet_a2m.data.tables import read_scp

pytestmark = [pytest.mark.recipe, pytest.mark.slow]


def check_outputs(recipe: Path, *paths: str) -> None:
    for path in paths:
        assert (recipe / path).stat().st_size > 0, path


def test_ami(tmp_path):
    corpus = tmp_path / "corpus"
    write_ami(corpus, prompts_as_meetings(prompts(0.8, 2.5)[:48]))
    manual = tmp_path / "manual"
    (corpus / "ami_public_manual_1.6.2").rename(manual)
    recipe = copy_recipe("ami", tmp_path / "recipe", AMI=corpus, AMI_MANUAL=manual)
    options = {**OPTIONS, "pretrain": "ami", "test_sets": "sdm1_eval"}
    partial = run(recipe, **options)
    assert partial.returncode != 0
    assert "ihm_train: 135 meeting(s) missing" in partial.stderr
    assert "--allow_missing true" in partial.stderr
    done = run(recipe, **options, allow_missing="true")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    text = read_scp(recipe / "dump/raw/sdm1_eval/text")
    assert len(text) == 12
    check_outputs(recipe, "data/sdm1_dev/segments", "dump/raw/ihm_train/wav.scp")
    check_outputs(
        recipe,
        "exp/scorer_ctc/valid.loss.ave.pth",
        "exp/confidence_ctc/ihm_valid/confidence.scp",
        "exp/asr_atm/decode_ctc/sdm1_eval/score_wer/result.txt",
        "RESULTS.md",
    )
    decoded = read_scp(recipe / "exp/asr_atm/decode_ctc/sdm1_eval/text", True)
    assert text.keys() == decoded.keys()


def test_ami_without_arrays(tmp_path):
    """--mic ihm needs none: test sets of which nothing is there are left out."""
    corpus = tmp_path / "corpus"
    write_ami(corpus, prompts_as_meetings(prompts(0.8, 2.5)[:24]))
    for array in corpus.rglob("*.Array1-01.wav"):
        array.unlink()
    recipe = copy_recipe("ami", tmp_path / "recipe", AMI=corpus)
    options = {**OPTIONS, "pretrain": "ami", "allow_missing": "true"}
    options["stop_stage"] = "3"
    failed = run(recipe, **options)
    assert failed.returncode != 0
    assert "data/sdm1_dev is not written" in failed.stdout + failed.stderr
    assert "data/sdm1_eval: no such data directory" in failed.stderr
    assert "leave it out of --test_sets" in failed.stderr
    done = run(recipe, **options, test_sets="ihm_dev ihm_eval")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_outputs(recipe, "dump/raw/ihm_eval/text")


def test_chime6(tmp_path):
    corpus = tmp_path / "corpus"
    spoken = prompts(0.8, 2.5)
    sessions = ("S03", "S02", "S09", "S01")
    for i, session in enumerate(sessions):
        write_session(corpus, session, spoken[12 * i : 12 * (i + 1)])
    recipe = copy_recipe("chime6", tmp_path / "recipe", CHIME6=corpus)
    options = {
        **OPTIONS,
        "pretrain": "chime6",
        "mic": "mdm",
        "allow_missing": "true",
        "scorer": "energy",
        "test_sets": "dev",
        "asr_config": str(TINY / "asr_ctc_attention_conformer.yaml"),
        "inference_config": str(ROOT / "conf" / "decode_ctc_attention.yaml"),
    }
    done = run(recipe, **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    check_outputs(
        recipe,
        "dump/raw/mdm_train/wav.scp",
        "dump/raw/dev/utt2location",
        "exp/confidence_energy/mdm_train/confidence.scp",
        "exp/asr_atm/decode_ctc_attention/dev/score_wer/result.txt",
    )
    table = (
        recipe / "exp/asr_atm/decode_ctc_attention/dev/score_chime6/locations.md"
    ).read_text()
    assert table in done.stdout
    assert table.startswith("|session|DINING|KITCHEN|LIVING|all|\n")
    assert [line.split("|")[1] for line in table.splitlines()[2:]] == [
        *("S02", "S09", "all")
    ]


@pytest.mark.parametrize("name", ["ami", "chime6"])
def test_without_the_corpus(tmp_path, name):
    recipe = copy_recipe(name, tmp_path / "recipe")
    failed = run(recipe, **OPTIONS, pretrain=name)
    assert failed.returncode != 0
    assert f"Set {name.upper()} in the recipe's db.sh" in failed.stderr
