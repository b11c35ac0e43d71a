"""SIGKILL at any moment of training: it resumes and ends with the very same model, and
a full disk or a truncated file costs no more than what was not saved yet."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.forking import python
from helpers.killing import KILLS, kill_and_restart, start
from helpers.tiny_pretraining import ssl_options

from espnet_a2m.training.checkpoint import BACKUP, CHECKPOINT, UPDATE, is_complete

ROOT = Path(__file__).resolve().parents[2]
ENV = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
EPOCHS = 3
MARKER = "Saving the configuration"  # what every run logs before its first step
OPTIONS = [
    *("--masking_conf", "guidance=uniform", "--max_epoch", str(EPOCHS)),
    *("--keep_nbest_models", "2"),  # to be averaged
    *("--batch_bins", "150000", "--save_interval_updates", "2", "--resume", "true"),
]

pytestmark = [pytest.mark.espnet, pytest.mark.slow]


def command(data: Path, exp: Path, *extra: str) -> list[str]:
    options = ssl_options(data, None, exp, *OPTIONS, *extra)
    return ["espnet_a2m.bin.ssl_train", *options]


def result(exp: Path) -> dict:
    """The last model, and the figures of each epoch but those of the clock."""
    states = torch.load(exp / CHECKPOINT, weights_only=False)
    figures = {
        (epoch, part, name): value
        for epoch, parts in states["reporter"]["stats"].items()
        for part, stats in parts.items()
        for name, value in stats.items()
        if not name.endswith(("time", "_per_sec"))
    }
    model = torch.load(exp / f"{EPOCHS}epoch.pth", weights_only=True)
    (average,) = exp.glob("*.ave_*.pth")  # the last thing that training writes
    averaged = torch.load(average, weights_only=True)
    averaged = {f"{average.name} {name}": value for name, value in averaged.items()}
    return {"figures": figures, **model, **averaged}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k])
        if isinstance(one[k], torch.Tensor)
        else one[k] == other[k]
        for k in one
    )


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory) -> tuple[Path, float]:
    """An uninterrupted run, and the seconds that it took."""
    exp = tmp_path_factory.mktemp("reference") / "exp"
    span = start(command(data, exp), MARKER, env=ENV)
    assert span is not None
    return exp, span


def test_training(data, reference, tmp_path):
    interrupted, (exp, span) = tmp_path / "interrupted", reference
    wanted = result(exp)

    def check():
        states = [interrupted / name for name in (CHECKPOINT, BACKUP, UPDATE)]
        there = [path for path in states if path.exists()]
        # written by renaming, so always complete; ESPnet's own need not be
        assert all(is_complete(path) for path in there if path.name != CHECKPOINT)
        if any(interrupted.glob("[1-9]epoch.pth")):
            assert any(is_complete(path) for path in there)

    def finish():
        assert same(result(interrupted), wanted)
        shutil.rmtree(interrupted)

    finished = kill_and_restart(
        *(command(data, interrupted), KILLS, 1, check, finish),
        marker=MARKER,
        span=span,
        env=ENV,
    )
    print(f"{KILLS} interruptions within {span:.1f} s, {finished} complete runs")


def test_truncated_files_and_a_full_disk(data, reference, tmp_path):
    """Truncated where a SIGKILL in the very moment of ESPnet's writing would."""
    exp = tmp_path / "exp"
    shutil.copytree(reference[0], exp, symlinks=True)
    (average,) = (path.name for path in exp.glob("*.ave_*.pth"))
    for name in (CHECKPOINT, f"{EPOCHS}epoch.pth", average):
        (exp / name).write_bytes((exp / name).read_bytes()[:5000])
    # no file may grow beyond what the update's state needs
    limit = (exp / UPDATE).stat().st_size // 2

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        python("-m", *command(data, exp)),
        env={**os.environ, **ENV},
        preexec_fn=full,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert (
        f"ERROR: {exp}: the state of the training run could not be saved" in done.stderr
    )
    start(command(data, exp), "of epoch 3 are done", env=ENV)
    assert same(result(exp), result(reference[0]))
