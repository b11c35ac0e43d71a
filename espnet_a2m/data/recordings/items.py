"""What a folder or a manifest lists, and the utterances that it becomes."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from espnet_a2m.data.datadir import Segment

LONGEST_KEY = 150  # bytes: keys become names of files, and pieces add to them


class Item(NamedTuple):
    """A recording, or a part of one, that becomes one utterance or several."""

    audio: str  # its path
    name: str  # what its id is derived from
    speaker: str | None = None
    text: str | None = None  # None: no transcript
    language: str | None = None
    start: float = 0.0  # seconds
    end: float | None = None  # seconds; None: the end of the recording
    channel: int | None = None  # from 0; None: as --channels says


class Utterance(NamedTuple):
    """An utterance to write."""

    utt: str
    audio: str
    segment: Segment
    speaker: str
    text: str | None
    language: str | None

    @property
    def seconds(self) -> float:
        """Length."""
        return self.segment.end - self.segment.start


def to_key(name: str) -> str:
    """A key of data directories for any name: letters, digits, "-", "_" and ".".

    Letters may have accents. Names that differ in other characters alone become the
    same key; see `unique_keys`.
    """
    key = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("_")
    if len(key.encode()) > LONGEST_KEY:
        start = key.encode()[: LONGEST_KEY - 9].decode(errors="ignore")
        key = f"{start}-{_digest(name)}"
    return key or _digest(name)


def unique_keys(
    names: Iterable[str], short: Callable[[str], str] = str
) -> dict[str, str]:
    """Name -> key of its ``short`` form; a digest tells names of the same key apart."""
    keys = {name: to_key(short(name)) for name in names}
    count = Counter(keys.values())
    return {n: k if count[k] == 1 else f"{k}-{_digest(n)}" for n, k in keys.items()}


def shown(path: str) -> str:
    """A path as a line of text can hold it: quoted, if it has odd characters."""
    return path if path.isprintable() else repr(path)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]
