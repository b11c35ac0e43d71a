"""Common Voice, English: sentences read by volunteers, mp3.

Read without lhotse, whose recipe leaves out missing clips silently, and stops at
releases without columns that are not needed here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "Common Voice (https://commonvoice.mozilla.org/datasets, CC0) is free, after an "
    "e-mail address: get the English one, cv-corpus-<version>-en.tar.gz."
)
SETS = {
    "commonvoice_train": "train",
    "commonvoice_dev": "dev",
    "commonvoice_test": "test",
}
COLUMNS = ("client_id", "path", "sentence")
SPEAKER_DIGITS = 20  # of the 128 of a client_id: ids become file names


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """The sets, in the common form; `corpus_dir` is a release, or its folder en."""
    folders = [path.name for path in corpus_dir.glob("cv-corpus-*")]
    inside = ["en", *(f"{name}/en" for name in folders)]
    root = shared.find_corpus(corpus_dir, inside, ["*.tsv"], WHERE)
    for name in sets:
        yield name, read_part(name, root, SETS[name], allow_missing)


def read_part(
    name: str, root: Path, part: str, allow_missing: bool
) -> shared.Utterances:
    """The clips that <part>.tsv lists."""
    table = root / f"{part}.tsv"
    rows = read_table(table)
    if silent := [row["path"] for row in rows if not row["sentence"].strip()]:
        print(
            f"{name}: {len(silent)} clips left out, which have no sentence in {table}, "
            f"e.g. {silent[0]}",
            file=sys.stderr,
        )
    clips = {row["path"]: root / "clips" / row["path"] for row in rows}
    missing = {p for p in clips.values() if not (p.is_file() and p.stat().st_size)}
    if missing:
        message = (
            f"{root / 'clips'}: {len(missing)} of {len(clips)} clips of {table.name} "
            f"are missing or have no bytes: {preview(sorted(map(str, missing)))}"
        )
        shared.report_missing(
            message, f"Unpack the archive again. {WHERE}", allow_missing
        )
    infos = shared.read_audio_infos(
        root, (p for p in clips.values() if p not in missing)
    )
    form = CommonForm(quotes=True, keep_all=part != "train")
    found = shared.Utterances(root)
    for row in rows:
        path = clips[row["path"]]
        text = form(row["sentence"]) if row["sentence"].strip() else ""
        if text and path not in missing:
            info = infos[str(path)]
            speaker = row["client_id"][:SPEAKER_DIGITS]
            utt = f"{speaker}-{path.stem}"
            found.add(utt, info, 0, 0.0, info.seconds, speaker, text)
    form.report(name)
    return found


def read_table(path: Path) -> list[dict[str, str]]:
    """The columns `COLUMNS` of a .tsv file, which has them in every line."""
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob("*.tsv"))
        raise DataError(f"{path}: no such file; there is {preview(there)}. {WHERE}")
    with path.open(encoding="utf-8", newline="") as stream:
        # quotation marks are part of the sentences
        table = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
        if missing := [c for c in COLUMNS if c not in (table.fieldnames or ())]:
            raise DataError(
                f"{path}: no column {preview(missing)}: is that Common Voice? {WHERE}"
            )
        rows = []
        for number, row in enumerate(table, 2):
            truncated = any(row[column] is None for column in COLUMNS)
            if truncated or not (row["client_id"] and row["path"]):
                raise DataError(f"{path}:{number}: truncated line; copy the file again")
            rows.append({column: row[column] for column in COLUMNS})
    return rows
