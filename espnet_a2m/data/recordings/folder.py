"""The recordings of a folder and of the folders in it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.core.files import file_digest
from espnet_a2m.data.corpora._shared import files_below
from espnet_a2m.data.recordings.items import Item

#: Names of files that may hold audio end so; FFmpeg decodes what libsndfile does not
AUDIO = re.compile(
    r"\.(3gp|aac|ac3|aif[cf]?|aiff|amr|ape|au|avi|caf|flac|flv|m4[ab]|mk[av]|mov|mp[234]"
    r"|mpg|og[ag]|opus|ra|rf64|snd|sph|spx|ts|w64|wav|webm|wma|wv)",
    re.IGNORECASE,
)


def list_folder(
    folder: Path, speaker: str, text_suffix: str | None
) -> tuple[list[Item], dict[str, str]]:
    """The recordings below a folder, in the order of their paths.

    Args:
        folder: Where to look; links to folders are followed.
        speaker: "file": each recording is a speaker's; "folder": the recordings of a
            folder are.
        text_suffix: Of files with transcripts beside the recordings, as ".txt".

    Returns:
        Items, and file -> why it is left out.

    Raises:
        DataError: It is no folder, there is no recording in it, or transcripts are
            missing, empty or not in UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or manifest")
    items, left_out, silent, garbled = [], {}, [], []
    texts: set[Path] = set()
    closed: list[str] = []  # opening them as recordings says why
    recordings = []
    for path in files_below(folder, lambda error: closed.append(error.filename)):
        if AUDIO.fullmatch(path.suffix):
            recordings.append(path)
        else:
            left_out[str(path)] = "no audio, by its name"
    # names have no suffix, unless it tells them apart: "a.wav" and "a.mp3"
    stems = Counter(path.with_suffix("") for path in recordings) + Counter(recordings)
    for path in recordings:
        text = None
        if text_suffix:
            beside = path.with_suffix(text_suffix)
            texts.add(beside)
            try:
                text = read_transcript(beside) if beside.is_file() else None
                if not text:
                    silent.append(str(beside))
            except UnicodeDecodeError:
                garbled.append(str(beside))
        named = path.with_suffix("") if stems[path.with_suffix("")] == 1 else path
        name = named.relative_to(folder).as_posix()
        parent = folder.resolve().name
        if path.parent != folder:
            parent = path.parent.relative_to(folder).as_posix()
        who = parent if speaker == "folder" else None
        items.append(Item(str(path), name, who, text))
    items += [Item(name, name) for name in closed]
    if garbled:
        raise DataError(
            f"{len(garbled)} transcripts are not in UTF-8: {preview(garbled)}: convert "
            "them, e.g. by `iconv -f LATIN1 -t UTF-8`"
        )
    if not items:
        kinds = Counter(Path(name).suffix or "no suffix" for name in left_out)
        seen = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(5))
        raise DataError(f"{folder}: no recording in it (found: {seen or 'nothing'})")
    if silent and len(silent) < len(items):
        raise DataError(
            f"{folder}: {len(silent)} of {len(items)} recordings have no transcript: "
            f"{preview(silent)} missing or empty; add them, or list what there is in a "
            "manifest"
        )
    if silent:
        raise DataError(f"{folder}: no recording has a transcript in *{text_suffix}")
    return items, {k: v for k, v in left_out.items() if Path(k) not in texts}


def read_transcript(path: Path) -> str:
    """The words of a file, in one line. Raises UnicodeDecodeError."""
    return " ".join(path.read_text(encoding="utf-8-sig").split())


def find_copies(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Files with the content of an earlier one, and that one."""
    by_size: dict[int, list[str]] = {}
    for path in paths:
        # of others, opening them as recordings says what is wrong
        if os.path.isfile(path) and os.access(path, os.R_OK):
            by_size.setdefault(os.path.getsize(path), []).append(path)
    for size, same_size in by_size.items():
        first: dict[str, str] = {}
        for path in same_size if size and len(same_size) > 1 else ():
            original = first.setdefault(file_digest(path), path)
            if original != path:
                yield path, original
