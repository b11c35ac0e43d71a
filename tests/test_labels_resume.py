"""Pseudo-labels after a kill, and when they are asked for again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_a2m.bin.labels import main
from espnet_a2m.kaldi_table import write_table
from espnet_a2m.labels.kmeans import load_arrays


@pytest.fixture(scope="module")
def clips(tmp_path_factory, short_utterances) -> Path:
    """``train`` with 700 clips of 0.2 to 0.4 s, more than a chunk; ``dev`` with 20."""
    directory = tmp_path_factory.mktemp("clips")
    speech = np.concatenate([soundfile.read(p)[0] for _, p, _ in short_utterances[:90]])
    ends = np.cumsum(np.random.default_rng(0).integers(3200, 6400, 720))
    tables: dict[str, dict[str, Path]] = {"train": {}, "dev": {}}
    for i, clip in enumerate(np.split(speech, ends)[:720]):
        path = directory / f"{i:04d}.wav"
        soundfile.write(path, clip, 16000)
        tables["train" if i < 700 else "dev"][path.stem] = path
    for name, table in tables.items():
        write_table(directory / name / "wav.scp", table)
    return directory


def options(fit_data: Path, data: Iterable[Path], output: Path | str) -> list[str]:
    sets = [str(directory) for directory in data]
    return [
        *("--fit_data", str(fit_data), "--data", *sets, "--output_dir", str(output)),
        *("--num_clusters", "16", "--max_passes", "2"),
    ]


def made(output: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def test_labels_are_made_again_by_another_kmeans_only(clips, tmp_path):
    command = options(clips / "dev", [clips / "dev"], tmp_path)
    main(command)
    ark = tmp_path / "dev" / "chunks" / "000000.ark"
    before, modified = made(tmp_path), ark.stat().st_mtime_ns
    main(command)
    assert made(tmp_path) == before
    assert ark.stat().st_mtime_ns == modified
    main([*command, "--seed", "7"])
    after = made(tmp_path)
    same = {name for name in before if before[name] == after[name]}
    # archives of the same names and lengths
    assert same <= {"dev/grid.json", "dev/labels.scp", "dev/chunks/000000.scp"}


def kill_when(condition, command: list[str], cwd: Path) -> None:
    """Run the command until the condition holds, then kill it (SIGKILL)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "espnet_a2m.bin.labels", *command],
        cwd=cwd,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    try:
        while not condition():
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()


def test_killed_runs_go_on_to_the_same_files(clips, tmp_path, monkeypatch):
    command = options(clips / "train", [clips / "train", clips / "dev"], "labels")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for directory in (whole, killed):
        directory.mkdir()
    monkeypatch.chdir(whole)
    main(command)

    output = killed / "labels"
    partial = output / "km.partial.npz"

    def in_a_pass():
        return partial.exists() and load_arrays(partial)["position"] > 0

    kill_when(in_a_pass, command, killed)
    assert partial.exists() and not (output / "km.npz").exists()
    first_chunk = output / "train" / "chunks" / "000000.scp"
    kill_when(first_chunk.exists, command, killed)
    assert not (output / "train" / "labels.scp").exists()
    before = first_chunk.stat().st_mtime_ns

    monkeypatch.chdir(killed)
    main(command)
    assert first_chunk.stat().st_mtime_ns == before
    assert made(output) == made(whole / "labels")
