"""Data directories too large for memory, written speaker by speaker."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import IO

from espnet_a2m.datadir import DataError, Segment
from espnet_a2m.errors import naming
from espnet_a2m.kaldi_table import check_key, sort_keys

TABLES = ("segments", "utt2spk", "spk2utt", "wav.scp")  # wav.scp last: then it is whole


class StreamedDir:
    """A data directory that is there, whole, when the `with` block ends well.

    Args:
        path: the directory; what it held is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts = dict.fromkeys(
            ("recordings", "utterances", "words", "hours", "speakers"), 0.0
        )
        self._last: dict[str, bytes] = {}
        self._files: dict[str, IO[str]] = {}
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> StreamedDir:
        self.path.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            part = self.path / f".{name}.part"
            self._files[name] = self._opened.enter_context(
                part.open("w", encoding="utf-8")
            )
        return self

    def add_speaker(
        self, speaker: str, recordings: dict[str, str], segments: dict[str, Segment]
    ) -> None:
        """Add all that a speaker says; speakers come in the order of their keys.

        Raises:
            DataError: a key is none, or comes after one that it should precede.
        """
        if not segments:
            return
        utts = sort_keys(segments)
        for key in (speaker, *recordings, *utts):
            check_key(key, str(self.path))
        self._write("wav.scp", {key: recordings[key] for key in sort_keys(recordings)})
        self._write("segments", {utt: str(segments[utt]) for utt in utts})
        self._write("utt2spk", dict.fromkeys(utts, speaker))
        self._write("spk2utt", {speaker: " ".join(utts)})
        seconds = sum(s.end - s.start for s in segments.values())
        self.counts["hours"] += seconds / 3600
        self.counts["recordings"] += len(recordings)
        self.counts["utterances"] += len(utts)
        self.counts["speakers"] += 1

    def _write(self, name: str, lines: dict[str, str]) -> None:
        for key, value in lines.items():
            if self._last.get(name, b"") >= key.encode():
                raise DataError(
                    f"{self.path}/{name}: {key} would follow "
                    f"{self._last[name].decode()}: rename its speaker's folder"
                )
            self._last[name] = key.encode()
            with naming(self.path / name):
                self._files[name].write(f"{key} {value}\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        parts = {name: self.path / f".{name}.part" for name in TABLES}
        try:
            with naming(self.path):
                self._opened.close()
            if kind is None and not self.counts["utterances"]:
                raise DataError(f"{self.path}: no utterance was found for it")
            if kind is None:
                for old in (*self.path.glob("utt2*"), self.path / "text"):
                    old.unlink(missing_ok=True)
                for name in ("wav.scp", *TABLES[:-1]):
                    (self.path / name).unlink(missing_ok=True)
                for name, part in parts.items():
                    os.replace(part, self.path / name)
                self._tell()
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)

    def _tell(self) -> None:
        print(
            f"{self.path}: {self.counts['recordings']:.0f} recordings, "
            f"{self.counts['utterances']:.0f} utterances of "
            f"{self.counts['speakers']:.0f} speakers, {self.counts['hours']:.2f} h"
        )
