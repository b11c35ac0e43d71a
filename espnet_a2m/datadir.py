"""Kaldi data directories: read them with every mistake named, write them atomically.

A data directory holds tables of one "<key> <value>" per line, sorted bytewise by key
(`LC_ALL=C sort`): `wav.scp` (audio path), `text` (transcript), `utt2spk`, `spk2utt`,
`utt2*` (one value per utterance) and, when recordings are cut into utterances,
`segments` ("<utt> <recording> <start s> <end s>", and as Kaldi has it the channel,
from 0, of a recording that has several).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from espnet_a2m.errors import DataError, UserError, few, main_guard
from espnet_a2m.kaldi_ark import is_archive_entry, parse_entry
from espnet_a2m.kaldi_table import (
    PathLike,
    check_key,
    is_command,
    read_scp,
    sort_keys,
    write_atomic,
    write_table,
)

__all__ = [
    "DataDir",
    "DataError",
    "Segment",
    "UserError",
    "few",
    "invert_utt2spk",
    "main_guard",
    "read_scp",
    "read_segments",
    "sort_keys",
    "write_atomic",
    "write_data_dir",
    "write_table",
]


class Segment(NamedTuple):
    """A part of a recording: `start` and `end` in seconds, `channel` from 0."""

    recording: str
    start: float
    end: float
    channel: int | None = None

    def __str__(self) -> str:
        """As a line of `segments` has it."""
        line = f"{self.recording} {self.start!r} {self.end!r}"
        return line if self.channel is None else f"{line} {self.channel}"


def read_segments(path: PathLike) -> dict[str, Segment]:
    """Read `segments`. Raises DataError as `read_scp`, and on senseless times."""
    segments = {}
    for utt, value in read_scp(path).items():
        try:
            recording, start, end, *channel = value.split()
            number = int(channel.pop()) if channel else None
            if channel or (number is not None and number < 0):
                raise ValueError
            segment = Segment(recording, float(start), float(end), number)
        except ValueError:
            raise DataError(
                f"{path}: {utt}: expected '<recording> <start> <end>' with times in "
                f"seconds, then perhaps a channel from 0, found {value!r}"
            ) from None
        if not 0 <= segment.start < segment.end < float("inf"):
            raise DataError(
                f"{path}: {utt}: start {segment.start} and end {segment.end} (seconds) "
                "must satisfy 0 <= start < end; correct or remove the utterance"
            )
        segments[utt] = segment
    return segments


def invert_utt2spk(utt2spk: Mapping[str, str]) -> dict[str, str]:
    """The table spk2utt of a table utt2spk."""
    spk2utt: dict[str, list[str]] = {}
    for utt in sort_keys(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return {spk: " ".join(utts) for spk, utts in spk2utt.items()}


@dataclass
class DataDir:
    """A validated data directory in memory.

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
    def load(
        cls,
        path: PathLike,
        need: Iterable[str] = ("wav.scp", "utt2spk"),
        allow_empty_text: bool = False,
        allow_pipes: bool = False,
    ) -> DataDir:
        """Read and check a directory.

        Args:
            path: the directory.
            need: tables that must be there (`wav.scp` always must); any other
                `text`, `segments` and `utt2*` are checked when they are there.
            allow_empty_text: accept utterances without a transcript.
            allow_pipes: accept commands ("sph2pipe a.sph |") in wav.scp.

        Raises:
            DataError: with file, line or utterance, and what to do about it.
        """
        path = Path(path)
        if not path.is_dir():
            raise DataError(
                f"{path}: no such data directory; run the stage that makes it first"
            )
        missing = [n for n in ("wav.scp", *need) if not (path / n).is_file()]
        if missing:
            raise DataError(
                f"{path}: {few(dict.fromkeys(missing))} missing; complete the "
                "directory, or run the stage that makes it again"
            )
        wav_scp = read_scp(path / "wav.scp")
        for key, value in wav_scp.items():
            if is_command(value) and not (allow_pipes and value.endswith("|")):
                raise DataError(
                    f"{path}/wav.scp: {key}: the entry is a command (a pipe), which is "
                    "run in stage 3 only, and only with --allow_pipes true; or write "
                    "its output to a wav or flac file and name that file"
                )
        segments = None
        if (path / "segments").exists():
            segments = read_segments(path / "segments")
        names = {p.name for p in path.glob("utt2*") if p.is_file()}
        names |= {"text"} if (path / "text").exists() else set()
        tables = {
            name: read_scp(path / name, allow_empty_text and name == "text")
            for name in sorted(names)
        }
        loaded = cls(path, wav_scp, segments, tables)
        loaded._check_keys()
        return loaded

    def _check_keys(self) -> None:
        reference = "wav.scp" if self.segments is None else "segments"
        utts = set(self.utts)
        if self.segments is not None:
            for utt, segment in self.segments.items():
                if segment.recording not in self.wav_scp:
                    raise DataError(
                        f"{self.path}/segments: {utt}: the recording "
                        f"{segment.recording!r} is not in {self.path}/wav.scp; "
                        "add it there or remove the utterance"
                    )
        for name, table in self.tables.items():
            for one, other, keys in (
                (reference, name, utts - table.keys()),
                (name, reference, table.keys() - utts),
            ):
                if keys:
                    raise DataError(
                        f"{self.path}: {len(keys)} utterance(s) are in {one} but not "
                        f"in {other}: {few(sort_keys(keys))}; make both files list the "
                        "same utterances"
                    )
        self._check_speakers()

    def _check_speakers(self) -> None:
        path = self.path / "spk2utt"
        if "utt2spk" not in self.tables:
            return
        for speaker in set(self.tables["utt2spk"].values()):  # keys of spk2utt
            check_key(speaker, f"{self.path}/utt2spk")
        if not path.exists():
            return
        expected = invert_utt2spk(self.tables["utt2spk"])
        found = {spk: " ".join(v.split()) for spk, v in read_scp(path).items()}
        different = [
            s for s in {**expected, **found} if expected.get(s) != found.get(s)
        ]
        if different:
            raise DataError(
                f"{path}: disagrees with utt2spk about speaker {few(different)}; "
                "remove spk2utt, it is made again from utt2spk"
            )

    def check_audio_exists(self) -> None:
        """Raise DataError when an audio file of wav.scp is missing or has no bytes."""
        for key, value in self.wav_scp.items():
            if is_command(value):
                continue
            audio = Path(parse_entry(value)[0] if is_archive_entry(value) else value)
            if not audio.is_file():
                problem = "no such file (relative paths start at the current directory)"
            elif audio.stat().st_size == 0:
                problem = "the file has no bytes"
            else:
                continue
            raise DataError(
                f"{self.path}/wav.scp: {key}: {audio}: {problem}; correct the path or "
                "remove the utterance"
            )


def write_data_dir(
    path: PathLike,
    wav_scp: Mapping[str, object],
    tables: Mapping[str, Mapping[str, object]],
    segments: Mapping[str, Segment] | None = None,
) -> None:
    """Write a data directory, each file atomically, `wav.scp` last.

    spk2utt is made from `tables["utt2spk"]`. Tables left by an earlier run and no
    longer among `tables` are removed, so that the directory never mixes two runs.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Mapping[str, object]] = dict(tables)
    if "utt2spk" in tables:
        pairs = {utt: str(spk) for utt, spk in tables["utt2spk"].items()}
        contents["spk2utt"] = invert_utt2spk(pairs)
    if segments is not None:
        contents["segments"] = segments
    (path / "wav.scp").unlink(missing_ok=True)  # absent: the directory is being made
    for old in (*path.glob("utt2*"), *map(path.joinpath, ("text", "segments"))):
        if old.name not in contents:
            old.unlink(missing_ok=True)
    for name, table in contents.items():
        write_table(path / name, table)
    write_table(path / "wav.scp", wav_scp)
