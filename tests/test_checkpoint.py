"""Checkpoints cut off by a kill are found and replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espnet_a2m.checkpoint import BACKUP, CHECKPOINT, is_whole, restore_checkpoint

ROOT = Path(__file__).resolve().parent.parent
STATE = {"model": {"weight": torch.arange(5000.0)}}


@pytest.fixture
def exp(tmp_path) -> Path:
    torch.save(STATE, tmp_path / CHECKPOINT)
    return tmp_path


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_cut_checkpoint_is_not_whole(exp, share):
    checkpoint = exp / CHECKPOINT
    assert is_whole(checkpoint)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    assert not is_whole(checkpoint)
    # with a backup it is restored, without one it is removed
    restore_checkpoint(exp)
    assert not checkpoint.exists()
    torch.save(STATE, exp / BACKUP)
    restore_checkpoint(exp)
    assert is_whole(checkpoint)
    restored = torch.load(checkpoint, weights_only=True)
    assert torch.equal(restored["model"]["weight"], STATE["model"]["weight"])


def test_whole_checkpoint_is_left_alone(exp):
    torch.save({"older": torch.zeros(1)}, exp / BACKUP)
    before = (exp / CHECKPOINT).read_bytes()
    restore_checkpoint(exp)
    assert (exp / CHECKPOINT).read_bytes() == before


def test_script_removes_what_espnet_cannot_resume(exp):
    command = [sys.executable, ROOT / "local" / "check_checkpoint.py", exp]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    checkpoint = exp / CHECKPOINT
    assert subprocess.run(command, env=env).returncode == 0 and checkpoint.exists()
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "starts anew" in done.stderr
    assert not checkpoint.exists()
