"""SIGKILL at any moment: nothing half-written has a final name, and a second start ends
with the files of an unkilled run. ``A2M_KILLS=25`` kills more often."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from killing import KILLS, check_files, finish_like, kill_and_restart, start
from test_pretraining import data, scorer  # noqa: F401  # a scorer that ESPnet trained

from espnet_a2m.datadir import write_data_dir
from espnet_a2m.kaldi_table import read_scp
from espnet_a2m.labels.kmeans import load_arrays

ROOT = Path(__file__).resolve().parent.parent
ENV = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
NUM_CLIPS = 1200  # three chunks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory, short_utterances) -> Path:
    """A data directory of clips of 0.3 to 0.5 s of LibriSpeech."""
    folder = tmp_path_factory.mktemp("clips")
    speech = np.concatenate(
        [soundfile.read(p, dtype="int16")[0] for _, p, _ in short_utterances[:220]]
    )
    lengths = np.random.default_rng(0).integers(4800, 8000, NUM_CLIPS)
    ends = np.cumsum(lengths)
    assert ends[-1] <= len(speech)
    audio, samples = {}, {}
    for i, (end, length) in enumerate(zip(ends, lengths, strict=True)):
        path = folder / f"{i:04d}.wav"
        soundfile.write(path, speech[end - length : end], 16000)
        audio[path.stem], samples[path.stem] = path, length
    tables = {"utt2spk": dict.fromkeys(audio, "a"), "utt2num_samples": samples}
    write_data_dir(folder / "set", audio, tables)
    return folder / "set"


def kill_often(tmp_path, command, output, marker, progress=(), extra_check=None):
    """Kill the command, which makes the folder ``output``, ``KILLS`` times."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    span = start(command, marker, cwd=whole, env=ENV)

    def check():
        check_files(whole / output, killed / output, progress)
        if extra_check is not None:
            extra_check(killed / output)

    finished = kill_and_restart(
        *(command, KILLS, 1, check),
        lambda: finish_like(whole / output, killed / output),
        marker=marker,
        span=span,
        cwd=killed,
        env=ENV,
    )
    print(f"{KILLS} kills within {span:.1f} s of work, {finished} runs to the end")


def test_scoring(tmp_path, clips, scorer):  # noqa: F811
    command = [sys.executable, "-m", "espnet_a2m.bin.score", "--data", str(clips)]
    command += ["--asr_model_file", str(scorer / "1epoch.pth")]

    def table_is_whole(output):  # it appears when all its archives are there
        if (output / "confidence.scp").exists():
            assert len(read_scp(output / "confidence.scp")) == NUM_CLIPS

    kill_often(
        *(tmp_path, [*command, "--output_dir", "out"], "out", "confidence out"),
        extra_check=table_is_whole,
    )


def test_labels(tmp_path, clips):
    command = [sys.executable, "-m", "espnet_a2m.bin.labels", "--num_clusters", "16"]
    command += ["--fit_data", str(clips), "--data", str(clips), "--max_passes", "2"]
    partial = "km.partial.npz"

    def fit_is_whole(output):
        if (output / partial).exists():
            assert load_arrays(output / partial)["position"] >= 0

    kill_often(
        *(tmp_path, [*command, "--output_dir", "out"], "out", "k-means"),
        progress={partial},
        extra_check=fit_is_whole,
    )


@pytest.mark.parametrize("audio_format", ["flac", "flac.ark"])
def test_formatting(tmp_path, clips, audio_format):
    program = str(ROOT / "local" / "format_wav.py")
    command = [sys.executable, program, "--nj", "2", "--fs", "8000"]
    source = tmp_path / "source"
    tables = {"utt2spk": read_scp(clips / "utt2spk")}
    write_data_dir(source, read_scp(clips / "wav.scp"), tables)
    kill_often(
        *(tmp_path, [*command, "--audio_format", audio_format, str(source), "out"]),
        *("out", "out:"),
    )
