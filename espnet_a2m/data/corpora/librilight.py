"""Libri-Light: up to 60,000 hours of audiobooks without transcripts.

Neighbouring stretches of voice activity are joined, and one speaker is in memory at a
time, unlike in lhotse's recipe.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from espnet_a2m.core.errors import DataError, Preview, preview, warn
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.datadir import Segment, writing_data_dir
from espnet_a2m.data.tables import check_key, sort_keys

WHERE = (
    "Libri-Light is free to download, in the public domain: small.tar (35 GB), "
    "medium.tar (321 GB) and large.tar (3.05 TB), see "
    "https://github.com/facebookresearch/libri-light/tree/main/data_preparation."
)
# The folders hold no file twice: 60 kh is all three (577 + 5193 + 51934 h).
SETS = {
    "librilight_600": ("small",),
    "librilight_6k": ("small", "medium"),
    "librilight_60k": ("small", "medium", "large"),
}
SOURCE = "Kahn et al., arXiv 1912.07875"
PUBLISHED = {
    "librilight_600": {"speakers": 489},
    "librilight_6k": {"speakers": 1742},
    "librilight_60k": {"speakers": 7439},
}
LONGEST = 32.0  # seconds; the crop of the paper's pre-training
PAUSE = 2.0  # seconds; the official script leaves all pauses out, a segment cannot


def cut(activity: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join stretches of voice activity to segments, as the official cut_by_vad.py.

    All are (start, end) in seconds, in order. A stretch longer than LONGEST is divided
    evenly; a pause longer than PAUSE is in no segment.
    """
    segments: list[tuple[float, float]] = []
    for start, end in activity:
        if segments and (
            start - segments[-1][1] <= PAUSE and end - segments[-1][0] <= LONGEST
        ):
            segments[-1] = (segments[-1][0], max(end, segments[-1][1]))
            continue
        pieces = max(1, -(-(end - start) // LONGEST))
        step = (end - start) / pieces
        bounds = [round(start + i * step, 3) for i in range(int(pieces))] + [end]
        segments += zip(bounds, bounds[1:])
    return segments


@dataclass
class Books:
    """A set, whose recordings are read while its data directory is written."""

    root: Path
    parts: tuple[str, ...]
    allow_missing: bool = False
    counts: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the data directory, speaker by speaker, and count its content."""
        folders: dict[str, list[Path]] = {}
        for part in self.parts:
            for folder in (self.root / part).iterdir():
                if folder.is_dir():
                    folders.setdefault(folder.name, []).append(folder)
        counts: Counter[str] = Counter()
        seconds, invalid = 0.0, Preview()
        last: dict[str, str] = {}
        with writing_data_dir(path) as add:
            # the order of "<speaker>-...", which is not that of "<speaker>"
            for speaker in sorted(folders, key=lambda s: f"{s}-".encode()):
                recordings, segments = read_speaker(
                    speaker, folders[speaker], self.allow_missing, invalid
                )
                if not segments:
                    continue
                check_key(speaker, str(path))
                check_order(recordings, path / "wav.scp", last)
                check_order(segments, path / "segments", last)
                speakers = dict.fromkeys(segments, speaker)
                add({"wav.scp": recordings, "segments": segments, "utt2spk": speakers})
                counts["recordings"] += len(recordings)
                counts["utterances"] += len(segments)
                counts["speakers"] += 1
                seconds += sum(s.end - s.start for s in segments.values())
            if not counts:
                raise DataError(f"{path}: no utterance found")
        self.counts = {**counts, "hours": seconds / 3600}
        print(
            f"{path}: {counts['recordings']} recordings, {counts['utterances']} "
            f"utterances of {counts['speakers']} speakers, {seconds / 3600:.2f} h"
        )
        if invalid.count:
            warn(
                f"{path}: {invalid.count} recordings have stretches of voice activity "
                f"that end before they begin, which are left out: {invalid}"
            )


def check_order(keys: Iterable[str], path: Path, last: dict[str, str]) -> None:
    """Raise DataError unless keys sort after the last one of each table, in `last`."""
    for key in sort_keys(keys):
        check_key(key, str(path))
        if last.get(path.name, "").encode() >= key.encode():
            raise DataError(
                f"{path}: {key} would follow {last[path.name]}: rename its speaker's "
                "folder"
            )
        last[path.name] = key


def read_speaker(
    speaker: str, folders: list[Path], allow_missing: bool, invalid: Preview
) -> tuple[dict[str, str], dict[str, Segment]]:
    """Recordings (id -> path) and segments of a speaker; see `read_activity`."""
    recordings: dict[str, str] = {}
    segments: dict[str, Segment] = {}
    for folder in folders:
        flac = {path.with_suffix("") for path in shared.visible(folder, "*/*.flac")}
        json_files = {
            path.with_suffix("") for path in shared.visible(folder, "*/*.json")
        }
        if (unpaired := flac ^ json_files) and not allow_missing:
            raise DataError(
                f"{folder}: {len(unpaired)} recordings have no .flac or no .json: "
                f"{preview(sorted(map(str, unpaired)))}; unpack the archive again. "
                f"{WHERE} {shared.PARTIAL}"
            )
        for base in sorted(flac & json_files):
            name = f"{speaker}-{base.parent.name}-{base.name}"
            parts = cut(read_activity(base.with_name(base.name + ".json"), invalid))
            if not parts:
                continue
            recordings[name] = str(base.with_name(base.name + ".flac").absolute())
            for index, (start, end) in enumerate(parts):
                segments[f"{name}-{index:04d}"] = Segment(name, start, end)
    return recordings, segments


def read_activity(path: Path, invalid: Preview) -> list[tuple[float, float]]:
    """Stretches of voice activity in a recording's .json, in seconds, in order.

    One that ends before it begins is left out, and the file is added to `invalid`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["voice_activity"]
        activity = [(float(start), float(end)) for start, end in found]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{path}: no "voice_activity" of [start, end] in seconds ({error!r}); '
            "copy it again, or write it with Libri-Light's own scripts"
        ) from None
    good = [(start, end) for start, end in activity if 0 <= start < end < math.inf]
    if len(good) < len(activity):
        invalid.add(str(path))
    return sorted(good)


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Books]]:
    """The sets, without text; `corpus_dir` contains small, medium and large."""
    for part in dict.fromkeys(part for name in sets for part in SETS[name]):
        if not (corpus_dir / part).is_dir() and any(corpus_dir.glob("*/*/*.flac")):
            raise DataError(
                f"{corpus_dir}: has <speaker>/<book>/*.flac itself, so it is one of "
                f"small, medium and large: set LIBRILIGHT (--corpus_dir) to the folder "
                f"above it, {corpus_dir.absolute().parent}"
            )
        if not any((corpus_dir / part).glob("*/*/*.flac")):
            raise DataError(
                f"{corpus_dir / part}: looked for <speaker>/<book>/*.flac and found "
                f"none. {WHERE}"
            )
    for name in sets:
        yield name, Books(corpus_dir, SETS[name], allow_missing)
