"""Manifests: tables of recordings, as csv, tsv, or JSON lines, plain or gzipped.

Columns are found by their names: those of NeMo's manifests, of Hugging Face's
``datasets`` (``metadata.csv``), of Common Voice and of lhotse (cuts and recordings).
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_a2m.core.errors import DataError, listed, preview
from espnet_a2m.data.recordings.items import Item

#: What a column is called, the first that is there counts
COLUMNS = {
    "audio": (
        "audio",
        "audio_filepath",
        "audio_path",
        "file_name",
        "file",
        "path",
        "wav",
    ),
    "text": ("text", "sentence", "transcription", "transcript", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "spk", "client_id"),
    "language": ("language", "lang", "locale"),
    "start": ("start", "offset"),
    "end": ("end",),
    "duration": ("duration",),
    "channel": ("channel",),
    "name": ("id", "utt_id", "utt", "segment_id"),
}
URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
QUOTED = re.compile(r'"((?:[^"]|"")*)"')  # a cell, with its quotation marks doubled
LAST_SECOND = 1e9


def read_manifest(path: Path) -> list[Item]:
    """The rows of a manifest; relative paths start at its folder.

    Raises DataError that names all rows that are no recording.
    """
    items, problems = [], []
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        try:
            row = _parse(row) if isinstance(row, str) else row
            item = to_item(row, path.parent, f"{path.stem}-{number:06d}")
            if (first := lines.setdefault(item.name, number)) != number:
                raise ValueError(f"the id {item.name!r} is that of line {first}, too")
            items.append(item)
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise DataError(f"{len(problems)} rows cannot be used:\n  {listed(problems)}")
    if not items:
        raise DataError(f"{path}: no rows in it")
    return items


def to_item(row: Mapping[str, Any], folder: Path, name: str) -> Item:
    """A row; ``name`` is for rows without an id. Raises ValueError."""
    if None in row:  # as csv has it
        raise ValueError(
            "more cells than columns; quote those with a separator in them"
        )
    lhotse = isinstance(row.get("recording"), Mapping) or "sources" in row
    values = dict(_lhotse(row) if lhotse else row)
    found = {
        what: value
        for what, names in COLUMNS.items()
        if (value := next((values[n] for n in names if _given(values.get(n))), None))
        is not None
    }
    if "audio" not in found:
        raise ValueError(
            f"no column {' or '.join(COLUMNS['audio'])} (found: {preview(values, 9)})"
        )
    if isinstance(found["audio"], Mapping):  # as datasets has it
        found["audio"] = found["audio"].get("path") or ""
    for what, value in found.items():
        if not isinstance(value, str | int | float) or "\0" in str(value):
            raise ValueError(f"{what}: {value!r}: expected a text or a number")
    audio = os.path.expanduser(str(found["audio"]))
    if URL.match(audio):
        raise ValueError(f"{audio}: download it; a manifest names files")
    start, end = float(found.get("start", 0.0)), None
    if "end" in found:
        end = float(found["end"])
    elif "duration" in found and "start" in found:
        end = start + float(found["duration"])
    if not 0 <= start < (LAST_SECOND if end is None else end) <= LAST_SECOND:
        raise ValueError(f"from {start} to {end} s")
    channel = float(found["channel"]) if "channel" in found else None  # pandas: "1.0"
    if channel is not None and not (channel >= 0 and channel.is_integer()):
        raise ValueError(f"channel {found['channel']}: expected 0, 1, ...")
    return Item(
        audio=str(_find(folder, audio)),
        name=str(found.get("name", name)),
        speaker=str(found["speaker"]) if "speaker" in found else None,
        text=" ".join(str(found.get("text", "")).split()) or None,
        language=str(found["language"]) if "language" in found else None,
        start=start,
        end=end,
        channel=None if channel is None else int(channel),
    )


def _find(folder: Path, audio: str) -> Path:
    """Where a manifest's audio is: beside it, or in Common Voice's folder ``clips``."""
    path, clip = folder / audio, folder / "clips" / audio
    return clip if clip.exists() and not path.exists() else path


def _given(value: Any) -> bool:
    missing = value is None or value == "" or value != value  # NaN, as pandas has it
    return not missing


def _lhotse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a cut or a recording of lhotse says, by the names of `COLUMNS`."""
    recording = row.get("recording") or row
    sources = recording.get("sources", ())
    if len(sources) != 1 or sources[0].get("type") != "file":
        raise ValueError(f"{row.get('id')}: not one source that is a file")
    supervisions = row.get("supervisions", ())
    if len(supervisions) > 1:
        raise ValueError(
            f"{row.get('id')}: several supervisions; trim the cuts to them"
        )
    yield "audio", sources[0]["source"]
    yield "id", row.get("id")
    if "recording" in row:
        yield "start", row.get("start", 0.0)
        yield "duration", row.get("duration")
        channel = row.get("channel", 0)
        if len(sources[0].get("channels", [0])) > 1:
            yield "channel", channel[0] if isinstance(channel, list) else channel
    for supervision in supervisions:
        yield from ((k, supervision.get(k)) for k in ("text", "speaker", "language"))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """Line numbers and rows, or lines of JSON. Raises DataError."""
    suffix = path.suffix.lower()
    kind = path.with_suffix("").suffix.lower() if suffix == ".gz" else suffix
    number = 0
    try:
        opener = gzip.open if suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            if kind == ".csv":
                table = csv.DictReader(stream, strict=True)
                for row in table:
                    number = table.line_num
                    yield number, row
            elif kind == ".tsv":
                # a quotation mark that is not closed must not swallow other rows
                table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                for row in table:
                    number = table.line_num
                    yield number, {k: _unquote(v) for k, v in row.items()}
            elif kind in (".json", ".jsonl", ".ndjson"):
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield number, line
            else:
                raise DataError(
                    f"{path}: a manifest is .csv, .tsv or .jsonl, perhaps with .gz"
                )
    except csv.Error as error:
        raise DataError(
            f"{path}: after line {number}: {error}: wrong quotes?"
        ) from None
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged, or no text in UTF-8 ({error})") from None


def _unquote(cell: Any) -> Any:
    quoted = QUOTED.fullmatch(cell) if isinstance(cell, str) else None
    return quoted[1].replace('""', '"') if quoted else cell


def _parse(line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"no JSON: {error}; one object a line") from None
    if not isinstance(row, dict):
        raise ValueError("no JSON object")
    return row
