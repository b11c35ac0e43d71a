"""Manifests: tables of recordings, as csv, tsv, or JSON lines, plain or gzipped.

Columns are found by their names: those of NeMo's manifests, of Hugging Face's
``datasets`` (``metadata.csv``), of Common Voice and of lhotse (cuts and recordings).
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_a2m.core.errors import DataError, preview
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
MOST_PROBLEMS = 10


def read_manifest(path: Path) -> list[Item]:
    """The rows of a manifest; relative paths start at its folder.

    Raises DataError that names all rows that are no recording.
    """
    items, problems = [], []
    lines: dict[str, int] = {}
    for number, row in _rows(path):
        try:
            item = to_item(row, path.parent, f"{path.stem}-{number:06d}")
            if (first := lines.setdefault(item.name, number)) != number:
                raise ValueError(f"the id {item.name!r} is that of line {first}, too")
            items.append(item)
        except (TypeError, ValueError) as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        shown = "\n  ".join(problems[:MOST_PROBLEMS])
        more = len(problems) - MOST_PROBLEMS
        rest = f"\n  ... and {more} more" if more > 0 else ""
        raise DataError(f"{len(problems)} rows cannot be used:\n  {shown}{rest}")
    if not items:
        raise DataError(f"{path}: no rows in it")
    return items


def to_item(row: Mapping[str, Any], folder: Path, name: str) -> Item:
    """A row; ``name`` is for rows without an id. Raises ValueError."""
    values = dict(_lhotse(row) if "recording" in row or "sources" in row else row)
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
    audio = found["audio"]
    if isinstance(audio, Mapping):  # as datasets has it
        audio = audio.get("path") or ""
    start, end = float(found.get("start", 0.0)), None
    if "end" in found:
        end = float(found["end"])
    elif "duration" in found and "start" in found:
        end = start + float(found["duration"])
    if not 0 <= start < (end or float("inf")) < 1e9 and end is not None or start < 0:
        raise ValueError(f"from {start} to {end} s")
    channel = int(found["channel"]) if "channel" in found else None
    text = found.get("text")
    return Item(
        audio=str(folder / str(audio)),
        name=str(found.get("name", name)),
        speaker=str(found["speaker"]) if "speaker" in found else None,
        text=" ".join(str(text).split()) if text is not None else None,
        language=str(found["language"]) if "language" in found else None,
        start=start,
        end=end,
        channel=channel,
    )


def _given(value: Any) -> bool:
    return value is not None and value != ""


def _lhotse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a cut or a recording of lhotse says, by the names of `COLUMNS`."""
    recording = row.get("recording") or row
    sources = recording["sources"]
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
        yield "duration", row["duration"]
        channel = row.get("channel", 0)
        if len(sources[0].get("channels", [0])) > 1:
            yield "channel", channel[0] if isinstance(channel, list) else channel
    for supervision in supervisions:
        yield from ((k, supervision.get(k)) for k in ("text", "speaker", "language"))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and rows. Raises DataError."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8-sig", newline="") as stream:
            if kind in (".csv", ".tsv"):
                delimiter = "," if kind == ".csv" else "\t"
                table = csv.DictReader(stream, delimiter=delimiter)
                for row in table:
                    yield table.line_num, row
            elif kind in (".json", ".jsonl", ".ndjson"):
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield number, _parse(line, f"{path}:{number}")
            else:
                raise DataError(
                    f"{path}: a manifest is .csv, .tsv or .jsonl, perhaps with .gz"
                )
    except (UnicodeDecodeError, csv.Error, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged, or no text in UTF-8 ({error})") from None


def _parse(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: no JSON: {error}; one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: no JSON object")
    return row
