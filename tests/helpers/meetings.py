"""What the tests of corpora share: their preparation, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from espnet_a2m.data import prepare_corpus
from espnet_a2m.data.datadir import DataDir

ROOT = Path(__file__).resolve().parents[2]


def prepare(corpus: str, folder: Path, data: Path, *sets: str, **options: str) -> None:
    """Run `prepare_corpus`."""
    more = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [corpus, "--corpus_dir", str(folder), "--data", str(data), *more]
    prepare_corpus.main([*command, "--sets", *sets])


def refused(capsys, *arguments: str | Path) -> str:
    """Run `prepare_corpus`, which must fail with an error in words; returns it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        prepare_corpus.main([str(argument) for argument in arguments])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert "ERROR: " in said
    return said.rpartition("ERROR: ")[2]


def refused_sets(capsys, corpus: str, folder: Path, data: Path, *sets: str) -> str:
    """Prepare sets, which must fail with an error in words; returns it."""
    arguments = ("--corpus_dir", folder, "--data", data, "--sets", *sets)
    return refused(capsys, corpus, *arguments)


def cut(data: DataDir, utt: str):
    """The samples of an utterance, read from its recording by soundfile."""
    name, start, end, channel = data.segments[utt]
    samples, fs = soundfile.read(data.wav_scp[name], dtype="int16", always_2d=True)
    return samples[round(start * fs) : round(end * fs), channel or 0]


def same_files(one: Path, other: Path) -> bool:
    """Compare two folders, file by file."""
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    others = sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    return names == others and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names
    )
