"""Sweeps through run.sh: what is refused before anything runs; a sweep in miniature."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers import recipes
from helpers.asterisk_sounds import asterisk_downloads
from helpers.killing import take_interrupts

from espnet_a2m.bin.check_recipe import check
from espnet_a2m.evaluation.sweep import check_cells, make_cells, read_sweep

pytestmark = pytest.mark.recipe

SWEEPS = recipes.ROOT / "conf" / "sweeps"
OPTIONS = {
    **recipes.OPTIONS,
    "speed_perturb_factors": "",
    "label_tag": "",
    "test_sets": "test_clean",
}


PARTS = """
die() { echo "ERROR: $*"; exit 1; }
parse_known_options() { rest=("$@"); }
. "$1/local/sweep.sh"
stage=$2 stop_stage=$3 sweep=x sweep_nj=1 A2M_OPTIONS='--x a\\ b' python=show expdir=exp
ngpu=2 cuda_cmd=slurm.pl A2M_ROOT=/ scorer_args= ssl_args= asr_args= inference_args=
exec() { printf '%s\n' "$@"; }
run_sweep
"""


@pytest.mark.parametrize(
    ("first", "last", "parts"),
    [
        (1, 17, "data 1 5 scorer 6 8 cell 9 15 all 1 15"),
        (6, 11, "scorer 6 8 cell 9 11 all 6 11"),
        (3, 7, "data 3 5 scorer 6 7 all 3 7"),
        (12, 15, "cell 12 15 all 12 15"),
        (16, 17, "ERROR: --sweep: --stage and --stop_stage leave nothing to run"),
    ],
)
def test_parts_have_the_stages_that_are_to_run(first, last, parts):
    words = ["bash", "-uc", PARTS, "x", str(recipes.ROOT), str(first), str(last)]
    shown = subprocess.run(words, capture_output=True, text=True).stdout
    stages = [line for line in shown.splitlines() if line.startswith("--stages=")]
    for word in ("--stages=", "=--stage", " --stop_stage"):
        stages = [line.replace(word, "") for line in stages]
    assert (" ".join(stages) or shown.strip()) == parts
    if stages:
        assert shown.endswith("--\n./run.sh\n--x\na b\n")
        assert "--ngpu" not in shown  # the cluster's


def start(recipe: Path, **options: str) -> subprocess.Popen:
    """run.sh in a session of its own."""
    return subprocess.Popen(
        recipes.command(**{**OPTIONS, **options}),
        cwd=recipe,
        env=recipes.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=take_interrupts,
    )


@pytest.mark.parametrize("corpus", ["asterisk", "librispeech"])
def test_shipped_sweeps_fit_the_recipes(tmp_path, monkeypatch, corpus):
    """Every system: its options, what it would write, its configurations."""
    recipe = recipes.copy_recipe(corpus, tmp_path / "recipe", fork=False)
    monkeypatch.chdir(recipe)
    monkeypatch.setenv("A2M_ROOT", str(recipes.ROOT))
    own = recipes.ROOT / "egs2" / corpus / "a2m1" / "conf" / "sweeps"
    for path in sorted([*SWEEPS.glob("*.yaml"), *own.glob("*.yaml")]):
        sweep = read_sweep(path, ["./run.sh"])
        cells = make_cells(path.stem, sweep._replace(seeds=sweep.seeds[:1]), {})
        described = check_cells(path, ["./run.sh"], cells, "--stop_stage 15", check)
        assert len({d.ssl for d in described.values()}) == len(sweep.systems)


def test_faults_of_any_cell_stop_a_sweep_before_it_begins(tmp_path):
    recipe = recipes.copy_recipe("asterisk", tmp_path / "recipe")
    (recipe / "faulty.yaml").write_text(
        "seeds: [1, 2]\nreference: a\n"
        "options: {scorer_args: '--seed {seed}'}\n"
        "systems:\n"
        "    a: {}\n"
        "    b: {ssl_args: --masking_conf guidnace=low}\n"
        "    c: {num_clusters: many}\n"
    )
    sweep = start(recipe, sweep="faulty.yaml")
    out, err = sweep.communicate()
    assert sweep.returncode == 1
    first, *faults = err.partition("ERROR: ")[2].splitlines()
    assert first == "faulty.yaml: nothing was run:"
    assert len(faults) == 3, err
    assert faults[0].startswith("  system b: ") and "no option 'guidnace'" in faults[0]
    assert faults[1].startswith("  system c: the value of --num_clusters is not an int")
    assert "  a 1 and a 2 would both write exp/scorer_ctc, from " in faults[2]
    assert not (recipe / "exp").exists() and not (recipe / "data").exists()


@pytest.mark.slow
def test_a_sweep_that_is_interrupted_and_one_of_whose_cells_fails(tmp_path):
    """Two systems on real speech; the last run continues what the others have left."""
    recipe = recipes.copy_recipe("asterisk", tmp_path / "recipe")
    options = {
        "local_data_opts": f"--subset 0.04 --downloads {asterisk_downloads()}",
        "sweep": "two.yaml",
        "sweep_nj": "2",
    }
    file = (
        "seeds: [3]\nreference: uniform\nsystems:\n"
        "    high: {}\n"
        "    uniform: {ssl_args: --masking_conf guidance=uniform, %s}\n"
    )
    (recipe / "two.yaml").write_text(file % "inference_ssl_model: none.pth")
    exp, output = recipe / "exp", recipe / "exp" / "sweep_two"

    interrupted = start(recipe, **options)
    deadline = time.time() + 300
    while not (exp / "ssl_two_high_3" / ".begun").exists():
        assert interrupted.poll() is None and time.time() < deadline
        time.sleep(0.05)
    os.killpg(interrupted.pid, signal.SIGINT)
    assert "Interrupted." in interrupted.communicate()[1]
    assert interrupted.returncode
    assert not (exp / "ssl_two_high_3" / ".made").exists()

    failed = start(recipe, **options, stage="9")
    out, err = failed.communicate()
    assert failed.returncode == 1, out + err
    assert "high 3: done in " in out and "uniform 3: FAILED after " in out
    assert "uniform 3 failed; the end of exp/sweep_two/uniform_3.log:" in err
    assert "exp/ssl_two_uniform_3/none.pth is missing: run stage 11" in err
    assert "Resume it alone: ./run.sh " in err
    assert "ERROR: failed: uniform 3; 1 of 2 cells are complete." in err
    assert not (output / "RESULTS.md").exists()

    (recipe / "two.yaml").write_text(file % "inference_ssl_model: ''")
    fixed = start(recipe, **options, stage="9")
    out, err = fixed.communicate()
    assert fixed.returncode == 0, out + err
    again = (output / "high_3.log").read_text().rpartition("# ./run.sh")[2]
    assert "exp/ssl_two_high_3: up to date" in again
    assert "exp/asr_two_high_3: up to date" in again
    assert len(list(output.glob("scorer_of_*.log"))) == 1
    report = (output / "RESULTS.md").read_text()
    assert report in out
    for system in ("high", "uniform"):
        assert re.search(rf"\| {system} +\| 1 +\| 0.400 +\| ", report)
    assert (
        "## test_clean CER (decode_ctc" in report
        and "one seed is an anecdote" in report
    )
    assert (output / "RESULTS.json").exists()
    assert "asr_two_uniform_3" in (recipe / "RESULTS.md").read_text()
