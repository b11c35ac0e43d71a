"""SIGKILL at any moment, and a full disk: nothing half-written has a final name, and a
second start ends with the files of one that was left alone. ``A2M_KILLS=25`` kills more
often."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from helpers.forking import python
from helpers.killing import KILLS, check_files, finish_like, kill_and_restart, start

from espnet_a2m.data.datadir import write_data_dir
from espnet_a2m.data.tables import read_scp, write_table
from espnet_a2m.labels.kmeans import load_arrays

ROOT = Path(__file__).resolve().parents[2]
ENV = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
NUM_CLIPS = 1200  # three chunks of scores and labels
PARTIAL = "km.partial.npz"

pytestmark = [pytest.mark.espnet, pytest.mark.slow]


class Work(NamedTuple):
    """A command that makes the folder ``out``; ``whole`` is where it was left alone.

    ``marker`` is in its output when its work begins, which took ``span`` seconds.
    """

    command: list[str]
    marker: str
    whole: Path
    span: float


@pytest.fixture(scope="module")
def clips(tmp_path_factory, short_utterances) -> Path:
    """Clips of 0.3 to 0.5 s of LibriSpeech: ``set`` formatted, ``raw`` not."""
    folder = tmp_path_factory.mktemp("clips")
    speech = np.concatenate(
        [soundfile.read(p, dtype="int16")[0] for _, p, _ in short_utterances]
    )
    lengths = np.random.default_rng(0).integers(4800, 8000, NUM_CLIPS)
    starts = np.linspace(0, len(speech) - 8000, NUM_CLIPS).astype(int)
    audio, samples = {}, {}
    for i, (at, length) in enumerate(zip(starts, lengths, strict=True)):
        path = folder / f"{i:04d}.wav"
        soundfile.write(path, speech[at : at + length], 16000)
        audio[path.stem], samples[path.stem] = path, length
    speakers = dict.fromkeys(audio, "a")
    write_data_dir(folder / "raw", audio, {"utt2spk": speakers})
    tables = {"utt2spk": speakers, "utt2num_samples": samples}
    write_data_dir(folder / "set", audio, tables)
    return folder


@pytest.fixture(scope="module", params=["scores", "labels", "flac", "flac.ark"])
def work(request, clips, tmp_path_factory) -> Work:
    """One of the commands, run once without a kill."""
    if request.param == "scores":
        model = request.getfixturevalue("scorer") / "1epoch.pth"
        command = ["espnet_a2m.bin.score", "--asr_model_file", str(model)]
        command += ["--data", str(clips / "set"), "--output_dir", "out"]
        marker = "out/confidence.scp"
    elif request.param == "labels":
        command = ["espnet_a2m.bin.labels", "--fit_data", str(clips / "set")]
        command += ["--data", str(clips / "set"), "--output_dir", "out"]
        command += ["--num_clusters", "16", "--max_passes", "2"]
        marker = "k-means"
    else:
        command = ["espnet_a2m.bin.data", "format_wav", "--nj", "2"]
        command += ["--fs", "8000", "--audio_format", request.param]
        command += [str(clips / "raw"), "out"]
        marker = "out:"
    whole = tmp_path_factory.mktemp("whole")
    span = start(command, marker, None, whole, ENV)
    assert span is not None
    return Work(command, marker, whole / "out", span)


def test_killed_at_any_moment(work, tmp_path):
    killed = tmp_path / "out"
    chunks: dict[Path, int] = {}

    def check():
        check_files(work.whole, killed, {PARTIAL})
        for path, modified in chunks.items():  # what is done is not done again
            assert path.stat().st_mtime_ns == modified
        chunks.update((p, p.stat().st_mtime_ns) for p in killed.rglob("chunks/*.scp"))
        for table in ("confidence.scp", "labels.scp", "wav.scp"):
            if (killed / table).exists():  # only when all that it names is there
                assert len(read_scp(killed / table)) == NUM_CLIPS
        if (killed / PARTIAL).exists():
            assert load_arrays(killed / PARTIAL)["position"] >= 0

    def finish():
        check()
        finish_like(work.whole, killed)
        chunks.clear()

    finished = kill_and_restart(
        *(work.command, KILLS, 1, check, finish),
        marker=work.marker,
        span=work.span,
        cwd=tmp_path,
        env=ENV,
    )
    print(f"{KILLS} kills in {work.span:.1f} s of work, {finished} runs to the end")


@contextlib.contextmanager
def little_room(folder: Path, kilobytes: int, disk: bool = True) -> Iterator[list[str]]:
    """A folder on a disk of its own, which is full soon; what to put before a command.

    Where none is wanted or can be mounted, no file may grow beyond a part of the size.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if disk and subprocess.run(mount, capture_output=True).returncode == 0:
        try:
            yield []
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        yield ["bash", "-c", f'ulimit -f {kilobytes // 4}; exec "$@"', "bash"]


def make_room(folder: Path) -> None:
    if folder.is_mount():
        remount = ["mount", "-o", "remount,size=100m", str(folder)]
        subprocess.run(remount, check=True)


def refused_for_want_of_room(command: list[str], cwd: Path) -> str:
    """Run what must fail; returns its message."""
    environment = {**os.environ, **ENV}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (message,) = [x for x in done.stderr.splitlines() if x.startswith("ERROR: ")]
    return message


def test_full_disk(work, tmp_path):
    disk = tmp_path / "disk"
    # formatting looks whether there is room for it all before it begins
    formats = "format_wav" in work.command
    with little_room(disk, 80, disk=not formats) as limited:
        command = [*limited, *python("-m", *work.command)]
        message = refused_for_want_of_room(command, disk)
        assert "out/" in message and ("No space" in message or "too large" in message)
        check_files(work.whole, disk / "out", {PARTIAL})
        assert not [p for p in disk.rglob(".*") if p.name != ".formatted"]
        make_room(disk)
        start(work.command, work.marker, None, disk, ENV)
        finish_like(work.whole, disk / "out")


def test_token_list_on_a_full_disk(tmp_path, short_utterances):
    texts = {utt: text for utt, _, text in short_utterances}
    write_table(tmp_path / "text", texts)
    command = python("-m", "espnet_a2m.bin.data", "token_list", "--nbpe", "60")
    command += ["--token_type", "bpe", "--text", str(tmp_path / "text")]
    command += ["--outdir", "tokens"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **ENV}, check=True)
    with little_room(tmp_path / "disk", 8) as limited:
        message = refused_for_want_of_room([*limited, *command], tmp_path / "disk")
        assert "tokens/bpe.model" in message
        assert not (tmp_path / "disk" / "tokens" / "tokens.txt").exists()
        make_room(tmp_path / "disk")
        again = {"cwd": tmp_path / "disk", "env": {**os.environ, **ENV}}
        subprocess.run(command, check=True, **again)
        finish_like(tmp_path / "tokens", tmp_path / "disk" / "tokens")
