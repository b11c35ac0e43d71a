"""Kaldi data directories: read and check them, write them atomically.

They hold tables of "<key> <value>" lines, sorted bytewise by key (`LC_ALL=C sort`):
`wav.scp` (audio path), `text`, `utt2spk`, `spk2utt`, `utt2*` and, when recordings are
cut into utterances, `segments` ("<utt> <recording> <start s> <end s>", and as Kaldi has
it the channel, from 0, of a recording that has several; ours: "mix" for their mean).
`spk2utt` is written from `utt2spk` and not read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.core.files import PathLike, atomic_writer
from espnet_a2m.data.archives import is_archive_entry, parse_entry
from espnet_a2m.data.audio import MIX
from espnet_a2m.data.tables import (
    check_key,
    is_command,
    iter_scp,
    join_utterances,
    sort_keys,
    write_lines,
)

PART_UTTERANCES = 50_000  # of a directory that is read in parts


class Segment(NamedTuple):
    """A part of a recording: `start` and `end` in seconds, `channel` from 0, or MIX."""

    recording: str
    start: float
    end: float
    channel: int | None = None

    def __str__(self) -> str:
        """As a line of `segments` has it."""
        line = f"{self.recording} {self.start!r} {self.end!r}"
        if self.channel is None:
            return line
        return f"{line} {'mix' if self.channel == MIX else self.channel}"


def to_segment(value: str, path: PathLike, utt: str) -> Segment:
    """A line of `segments`. Raises DataError where it makes no sense."""
    try:
        recording, start, end, *channel = value.split()
        numbers = [MIX if word == "mix" else int(word) for word in channel]
        segment = Segment(recording, float(start), float(end), *numbers)
        if "mix" not in channel and min(numbers, default=0) < 0:
            raise ValueError
    except (TypeError, ValueError):  # TypeError: too many words
        raise DataError(
            f"{path}: {utt}: expected '<recording> <start> <end>' with times in "
            f"seconds, then perhaps a channel from 0 or 'mix', found {value!r}"
        ) from None
    if not 0 <= segment.start < segment.end < float("inf"):
        raise DataError(
            f"{path}: {utt}: start {segment.start} and end {segment.end} (seconds) "
            "must satisfy 0 <= start < end; correct or remove the utterance"
        )
    return segment


def iter_audio(path: PathLike, allow_pipes: bool = False) -> Iterator[tuple[str, str]]:
    """Read a `wav.scp` line by line. Raises DataError for commands not allowed."""
    for key, value in iter_scp(path):
        if is_command(value) and not (allow_pipes and value.endswith("|")):
            raise DataError(
                f"{path}: {key}: the entry is a command (a pipe), which is "
                "run by format_wav only, and only with --allow_pipes true; or write "
                "its output to a wav or flac file and name that file"
            )
        yield key, value


def missing_audio(path: PathLike) -> dict[str, str]:
    """Recordings of a `wav.scp` whose file is missing or has no bytes, and which."""
    missing, seen, problem = {}, "", ""
    for key, value in iter_audio(path, allow_pipes=True):
        if is_command(value):
            continue
        name = parse_entry(value)[0] if is_archive_entry(value) else value
        if name != seen:  # an archive's entries follow each other
            seen, problem = name, ""
            if not os.path.isfile(name):
                problem = "no such file (relative paths start at the current directory)"
            elif os.path.getsize(name) == 0:
                problem = "the file has no bytes"
        if problem:
            missing[key] = f"{path}: {name}: {problem}"
    return missing


@dataclass
class DataDir:
    """A validated data directory, or a part of one, in memory.

    Attributes:
        path: where it was read from.
        wav_scp: audio path per recording; without segments, per utterance.
        segments: what each utterance is cut from, or None.
        tables: `text`, `utt2spk` and other `utt2*` tables, all with the same keys.
    """

    path: Path
    wav_scp: dict[str, str]
    segments: dict[str, Segment] | None = None
    tables: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def utts(self) -> list[str]:
        """Utterance ids, in sorted order."""
        return list(self.wav_scp if self.segments is None else self.segments)

    @classmethod
    def load(cls, path: PathLike, **options: Any) -> DataDir:
        """Read and check a directory: `parts`, of which there is only one."""
        (data,) = cls.parts(path, size=sys.maxsize, **options)
        return data

    @classmethod
    def parts(
        cls,
        path: PathLike,
        need: Iterable[str] = ("wav.scp", "utt2spk"),
        allow_empty_text: bool = False,
        allow_pipes: bool = False,
        size: int | None = None,
    ) -> Iterator[DataDir]:
        """Read and check a directory, `size` utterances at a time [PART_UTTERANCES].

        Each part has all recordings of its segments. Utterances that not all tables
        have are in none, and are a DataError before the last part.

        Args:
            path: the directory.
            need: tables that must be there (`wav.scp` always must); any other
                `text`, `segments` and `utt2*` are checked when they are there.
            allow_empty_text: accept utterances without a transcript.
            allow_pipes: accept commands ("sph2pipe a.sph |") in wav.scp.
            size: most utterances of a part.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(
                f"{path}: no such data directory; run the stage that writes it first "
                "or, of a test set that the corpus does not have, leave it out of "
                "--test_sets"
            )
        missing = [n for n in ("wav.scp", *need) if not (path / n).is_file()]
        if missing:
            raise DataError(
                f"{path}: {preview(dict.fromkeys(missing))} missing; complete the "
                "directory, or run the stage that writes it again"
            )
        found = (*path.glob("utt2*"), path / "text")
        columns = sorted(table.name for table in found if table.is_file())
        tables = [(path / "wav.scp", iter_audio(path / "wav.scp", allow_pipes))]
        recordings: dict[str, str] | None = None
        if (path / "segments").exists():
            recordings = dict(tables[0][1])
            tables = [(path / "segments", iter_scp(path / "segments"))]
        for name in columns:
            allow_empty = allow_empty_text and name == "text"
            tables.append((path / name, iter_scp(path / name, allow_empty)))

        def new_part() -> DataDir:
            segments: dict[str, Segment] | None = None if recordings is None else {}
            return cls(path, recordings or {}, segments, {name: {} for name in columns})

        part, count = new_part(), 0
        fix = "make both files list the same utterances"
        for utt, (source, *values) in join_utterances(tables, fix, same=True):
            if count == (size or PART_UTTERANCES):
                yield part
                part, count = new_part(), 0
            count += 1
            if part.segments is None:
                part.wav_scp[utt] = source
            else:
                part.segments[utt] = to_segment(source, path / "segments", utt)
                if (name := part.segments[utt].recording) not in part.wav_scp:
                    raise DataError(
                        f"{path}/segments: {utt}: the recording {name!r} is not in "
                        f"{path}/wav.scp; add it there or remove the utterance"
                    )
            for name, value in zip(columns, values):
                part.tables[name][utt] = value
            if "utt2spk" in columns:
                check_key(part.tables["utt2spk"][utt], f"{path}/utt2spk: {utt}")
        yield part


def iter_spk2utt(utt2spk: PathLike) -> Iterator[tuple[str, str]]:
    """The lines of spk2utt, by sort(1), which keeps what is large on TMPDIR's disk."""
    process = subprocess.Popen(
        ["sort", "-S", "64M"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        with process.stdin as stream:  # a blank sorts before whatever is in a key
            stream.writelines(f"{s} {u}\n".encode() for u, s in iter_scp(utt2spk))
        lines = (line.decode().rstrip("\n").split(" ") for line in process.stdout)
        for speaker, group in itertools.groupby(lines, itemgetter(0)):
            yield speaker, " ".join(utt for _, utt in group)
    if process.returncode:
        raise DataError(f"{utt2spk}: `sort` failed: is the disk of TMPDIR full?")


@contextlib.contextmanager
def writing_data_dir(
    path: PathLike,
) -> Iterator[Callable[[Mapping[str, Mapping[str, object]]], None]]:
    """Write a data directory, each file atomically, `wav.scp` last.

    spk2utt is derived from utt2spk. Tables left by an earlier run and not written now
    are removed. Nothing is changed before the block ends, nor when it ends with an
    error. Yields a function that takes the lines of all tables for some utterances,
    which come after those of an earlier call; it must be called once at least.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    streams: dict[str, BinaryIO] = {}
    with contextlib.ExitStack() as last:
        with contextlib.ExitStack() as stack:

            def add(tables: Mapping[str, Mapping[str, object]]) -> None:
                for name, table in tables.items():
                    if name not in streams:
                        writers = last if name == "wav.scp" else stack
                        writer = atomic_writer(path / name)
                        streams[name] = writers.enter_context(writer)
                    pairs = ((key, table[key]) for key in sort_keys(table))
                    write_lines(streams[name], path / name, pairs)

            yield add
            # absent: the directory is being written
            (path / "wav.scp").unlink(missing_ok=True)
            for old in (*path.glob("utt2*"), *map(path.joinpath, ("text", "segments"))):
                if old.name not in streams:
                    old.unlink(missing_ok=True)
        if "utt2spk" in streams:
            with atomic_writer(path / "spk2utt") as stream:
                write_lines(stream, path / "spk2utt", iter_spk2utt(path / "utt2spk"))


def write_data_dir(
    path: PathLike,
    wav_scp: Mapping[str, object],
    tables: Mapping[str, Mapping[str, object]],
    segments: Mapping[str, Segment] | None = None,
) -> None:
    """Write a data directory that is in memory; see `writing_data_dir`."""
    contents = {**tables, "wav.scp": wav_scp}
    if segments is not None:
        contents["segments"] = segments
    with writing_data_dir(path) as add:
        add(contents)
