"""LibriSpeech and mini LibriSpeech: read books, transcribed, 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared

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


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """The sets, with unchanged transcripts.

    `corpus_dir` contains the parts ("train-clean-100", ...), or a folder LibriSpeech
    with them.
    """
    root = corpus_dir / "LibriSpeech"
    root = root if root.is_dir() else corpus_dir
    parts = dict.fromkeys(part for name in sets for part in SETS[name])
    texts = {part: read_part(root, part, allow_missing) for part in parts}
    for name in sets:
        found = shared.Utterances(root)
        for part in SETS[name]:
            for path, info in shared.read_audio_infos(root, texts[part]).items():
                utt = Path(path).stem
                speaker, text = utt.partition("-")[0], texts[part][path]
                found.add(utt, info, 0, 0.0, info.seconds, speaker, text)
        yield name, found


def download(folder: Path, sets: list[str]) -> Path:
    """Download the parts that the sets need, unless they are there."""
    from lhotse.recipes import download_librispeech

    parts = dict.fromkeys(part for name in sets for part in SETS[name])
    return Path(download_librispeech(folder, dataset_parts=list(parts)))


def read_part(root: Path, part: str, allow_missing: bool) -> dict[str, str]:
    """Path of each utterance's flac file -> its text; both must be there."""
    tables = shared.visible(root / part, "*/*/*.trans.txt")
    if not tables:
        there = [path.name for path in root.glob("*-*") if path.is_dir()]
        raise DataError(
            f"{root / part}: looked for <speaker>/<chapter>/*.trans.txt and found "
            f"none; in {root} there is {preview(sorted(there)) or 'no part'}. {WHERE}"
        )
    texts = {}
    for table in tables:
        said: dict[str, str] = {}
        for number, line in shared.read_lines(table):
            utt, *words = line.split()
            if utt in said or not words:
                problem = "twice" if utt in said else "no text"
                raise DataError(
                    f"{table}:{number}: {utt}: {problem}; copy the file again"
                )
            said[utt] = " ".join(words)
        audio = {path.stem for path in shared.visible(table.parent, "*.flac")}
        for missing, message in (
            (said.keys() - audio, f"{table.parent}: {{}} utterances have no flac file"),
            (audio - said.keys(), f"{table}: {{}} flac files have no transcript"),
        ):
            if missing:
                message = f"{message.format(len(missing))}: {preview(sorted(missing))}"
                shared.report_missing(message, f"Unpack {part} again.", allow_missing)
        for utt in sorted(said.keys() & audio):
            texts[str(table.parent / f"{utt}.flac")] = said[utt]
    return texts
