"""The benchmarks run on small sizes, and everybody does the same work in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import contrastive, masks, peers, timing
from benchmarks.report import Row, table

pytestmark = pytest.mark.espnet

ROOT = Path(__file__).resolve().parents[1]


def test_rows_say_whether_a_target_is_met():
    gain = Row.compare("a", "1", "peer", [1.0, 2.0, 3.0], [8.0, 10.0, 12.0], 5.0)
    assert (gain.ratio, gain.low, gain.high, gain.met) == (5.0, 4.0, 8.0, True)
    cost = Row.compare("b", "1", "peer", [1.2], [1.0], 1.1, at_most=True)
    assert cost.ratio == pytest.approx(1.2) and not cost.met
    lines = table([gain, cost]).splitlines()
    assert "5x (4x-8x)" in lines[2] and lines[2].endswith("| pass |")
    assert "at most 1.100x" in lines[3] and lines[3].endswith("| FAIL |")


def test_runs_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "MIN_SAMPLE", 0.0)  # one call each
    order = []

    def run(name):
        order.append(name)
        sum(range(100_000))

    samples = timing.interleave({x: lambda x=x: run(x) for x in "ab"}, rounds=3)
    assert "".join(order) == "aabb" + "abbaab"  # warm-up, then turns
    assert all(len(s) == 3 and min(s) > 0 for s in samples.values())


def test_masks_beside_the_peers_that_are_here():
    rows = masks.measure(sizes=[(4, 200)], rounds=2)
    against = {row.against for row in rows}
    assert {"espnet", "torchaudio"} <= against
    assert ("fairseq" in against) == (peers.fairseq_root() is not None)
    for name, draw in masks.candidates(64, 400).items():
        coverage = float(draw().float().mean())  # of ragged rows, padding included
        assert 0.15 < coverage < 0.5, name


def test_contrastive_losses_agree():
    frames = contrastive.Frames.random(2, 60)
    means = {
        name: sum(float(run()) for _ in range(4)) / (4 * 2 * 60)
        for name, make in contrastive.candidates(2, 60).items()
        for run in [make(frames)]
    }
    assert "ours" in means
    for name, mean in means.items():  # negatives differ, so not to the last digit
        assert mean == pytest.approx(means["ours"], rel=0.03), name


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="no peak memory here"
)
def test_memory_counts_what_a_pass_takes():
    command = [sys.executable, "-m", "benchmarks.memory", "ours", "8", "400"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    similarities = 8 * 400 * 400 * 4  # bytes of one value for each pair of frames
    assert 2 * similarities < int(done.stdout) < 50 * similarities


def test_command_writes_results(tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, "benchmarks/run.py", "storage", "--json", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "confidences on disk, size" in done.stdout
    results = json.loads(output.read_text())
    assert len(results["rows"]["storage"]) == 2 and results["versions"]["torch"]


def test_programs_on_a_synthetic_index(tmp_path):
    command = [sys.executable, "-m", "benchmarks.index_scale", "2000"]
    command += ["--folder", str(tmp_path), "--only", "make_index", "check", "filter"]
    command += ["make_scores", "score_merge", "check_streams"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "FAILED" not in done.stdout and done.stdout.count("2000 utterances ") == 6
    assert "kept 2000 of 2000" in done.stdout
