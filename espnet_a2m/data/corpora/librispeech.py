"""LibriSpeech and mini LibriSpeech: read books, transcribed, 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora._kaldi import Utterances, collect
from espnet_a2m.data.corpora._reading import PARTIAL, reading

WHERE = (
    "LibriSpeech (https://www.openslr.org/12) and its small version "
    "(https://www.openslr.org/31) are free to download, CC BY 4.0."
)
SETS = {
    "train_clean_5": ("train-clean-5",),
    "dev_clean_2": ("dev-clean-2",),
    "train_100": ("train-clean-100",),
    "train_960": ("train-clean-100", "train-clean-360", "train-other-500"),
    "dev": ("dev-clean", "dev-other"),
    "dev_clean": ("dev-clean",),
    "dev_other": ("dev-other",),
    "test_clean": ("test-clean",),
    "test_other": ("test-other",),
}
SOURCE = "the transcripts of OpenSLR 12 and 31"
PUBLISHED = {
    "train_clean_5": {"utterances": 1519},
    "dev_clean_2": {"utterances": 1089},
    "train_100": {"utterances": 28539},
    "train_960": {"utterances": 281241},
    "dev": {"utterances": 5567},
    "dev_clean": {"utterances": 2703},
    "dev_other": {"utterances": 2864},
    "test_clean": {"utterances": 2620},
    "test_other": {"utterances": 2939},
}
THREADS = 4  # headers of 281,241 files wait for the disk


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """The sets, with unchanged transcripts.

    Args:
        corpus_dir: contains the parts ("train-clean-100", ...), or a folder LibriSpeech
            with them.
        allow_missing: leave out utterances without audio, and audio without text.

    Raises:
        DataError: a part is missing or incomplete.
    """
    from lhotse import RecordingSet
    from lhotse.recipes import prepare_librispeech

    root = corpus_dir / "LibriSpeech"
    root = root if root.is_dir() else corpus_dir
    for part in dict.fromkeys(part for name in sets for part in SETS[name]):
        check_part(root, part, allow_missing)
    for name in sets:
        with reading(root):
            found = prepare_librispeech(
                root, dataset_parts=SETS[name], num_jobs=THREADS
            )
        recordings = [r for part in found.values() for r in part["recordings"]]
        yield (
            name,
            collect(
                root,
                RecordingSet.from_recordings(recordings),
                (s for part in found.values() for s in part["supervisions"]),
                utt_of=lambda s: s.id,
                speaker_of=lambda s: s.speaker,
            ),
        )


def download(folder: Path, sets: list[str]) -> Path:
    """Download the parts that the sets need, unless they are there."""
    from lhotse.recipes import download_librispeech

    parts = dict.fromkeys(part for name in sets for part in SETS[name])
    return Path(download_librispeech(folder, dataset_parts=list(parts)))


def check_part(root: Path, part: str, allow_missing: bool) -> None:
    """Raise DataError unless every transcript has a flac file, and vice versa.

    lhotse leaves out the others silently.
    """
    tables = sorted((root / part).glob("*/*/*.trans.txt"))
    if not tables:
        there = (
            [p.name for p in root.glob("*-*") if p.is_dir()] if root.is_dir() else []
        )
        raise DataError(
            f"{root / part}: looked for <speaker>/<chapter>/*.trans.txt and found "
            f"none; in {root} there is {preview(sorted(there)) or 'no part'}. {WHERE}"
        )
    for table in () if allow_missing else tables:
        lines = table.read_text(encoding="utf-8").splitlines()
        bare = [line for line in lines if len(line.split(maxsplit=1)) < 2]
        if bare:
            raise DataError(f"{table}: {bare[0]!r}: no text; copy the file again")
        transcribed = {line.split(maxsplit=1)[0] for line in lines}
        audio = {path.stem for path in table.parent.glob("*.flac")}
        for missing, message in (
            (transcribed - audio, f"{table.parent}: {{}} utterances have no flac file"),
            (audio - transcribed, f"{table}: {{}} flac files have no transcript"),
        ):
            if missing:
                raise DataError(
                    f"{message.format(len(missing))}: {preview(sorted(missing))}; "
                    f"unpack {part} again, or {PARTIAL}"
                )
