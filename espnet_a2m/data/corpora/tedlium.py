"""TED-LIUM, release 3 (its "legacy" partition) or 2: talks, transcribed, 16 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "TED-LIUM release 3 (https://www.openslr.org/51, 50 GB) and 2 "
    "(https://www.openslr.org/19) are free to download, CC BY-NC-ND 3.0."
)
SETS = {
    "tedlium_train": "train",
    "tedlium_dev": "dev",
    "tedlium_test": "test",
}
# of dev and test, which both releases share
SOURCE = "Kaldi's recipe"
PUBLISHED = {
    "tedlium_dev": {"recordings": 8, "utterances": 507},
    "tedlium_test": {"recordings": 11, "utterances": 1155},
}
FOLDERS = ("TEDLIUM_release-3", "TEDLIUM_release2")
MARKERS = ("legacy/*/stm/*.stm", "*/stm/*.stm")  # release 3, release 2
FIRST_RELEASE = "TEDLIUM_release1"
# "'s", and the "'" of "the students ' work", belong to the word before them
_SUFFIX = re.compile(r"(?<=\S)\s+(?=')")
_FIRST = re.compile(r"^'\s+")
_NO_WORD = re.compile(r"(?:<unk>|\[[^\]]*\])(?:'\S*)?")  # with its suffix


def spell(text: str) -> str:
    """Normalise a transcript as Kaldi's recipe: suffixes joined, no [NOISE], no <unk>.

    Kaldi's join_suffix.py joins an apostrophe that begins an utterance to the label
    before it, where it is lost; here it stays with its word. It joins two words at
    most; here "i 'd 've" is one. lhotse joins a lone apostrophe to the word after it.

    >>> spell("they 're <unk> 's here {NOISE} ' cause it 's the students ' work")
    "they're here cause it's the students' work"
    """
    marked = text.replace("{", "[").replace("}", "]")
    joined = _SUFFIX.sub("", _FIRST.sub("'", marked.strip()))
    return " ".join(_NO_WORD.sub(" ", joined).split())


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """The sets, in the common form of transcripts; a talk is a speaker.

    `corpus_dir` is a release, or the folder that it was unpacked in.
    """
    first = corpus_dir / FIRST_RELEASE
    others = any((corpus_dir / name).is_dir() for name in FOLDERS)
    if corpus_dir.name == FIRST_RELEASE or (first.is_dir() and not others):
        raise first_release(first if first.is_dir() else corpus_dir)
    root = shared.find_corpus(corpus_dir, FOLDERS, MARKERS, WHERE)
    for name in sets:
        folder = root / "legacy" / SETS[name]
        if not folder.is_dir():  # release 2
            folder = root / SETS[name]
        yield name, read_part(name, folder, allow_missing)


def read_part(name: str, folder: Path, allow_missing: bool) -> shared.Utterances:
    """The utterances of a folder with sph/ and stm/."""
    audio = {path.stem: path for path in shared.visible(folder / "sph", "*.sph")}
    texts = {path.stem: path for path in shared.visible(folder / "stm", "*.stm")}
    talks = sorted(audio.keys() & texts)
    alone = audio.keys() ^ texts.keys()
    if not talks or alone:
        lost = preview(sorted(alone)) or "all of them"
        message = (
            f"{folder}: looked for sph/<talk>.sph and stm/<talk>.stm; without one of "
            f"them: {lost}"
        )
        shared.report_missing(message, WHERE, allow_missing)
    infos = shared.read_audio_infos(folder, (audio[talk] for talk in talks))
    form = CommonForm(keep_all=SETS[name] != "train")
    found = shared.Utterances(folder)
    for talk, info in zip(talks, infos.values(), strict=True):
        for start, end, said in read_stm(texts[talk]):
            if text := form(spell(said), said):
                utt = f"{talk}-{shared.hundredths(start, end)}"
                found.add(utt, info, 0, start, end, talk, text)
    form.report(name)
    return found


def read_stm(path: Path) -> list[tuple[float, float, str]]:
    """Start and end in seconds and words of the transcribed segments of a talk.

    Comments (";;") and ignored segments are left out. Raises DataError for a line that
    is not one of an STM file, or of release 1.
    """
    found = []
    for number, line in shared.read_lines(path):
        if line.startswith(";;"):
            continue
        talk, *rest = line.split(maxsplit=5)
        try:
            start, end = float(rest[2]), float(rest[3])
            good = talk == path.stem and start < end
        except (IndexError, ValueError):
            good = False
        if not good or len(rest) < 5:
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not a line of an STM file of this "
                "talk: <talk> <channel> <speaker> <start> <end> <labels> words; get "
                "the file again"
            )
        text = " ".join(rest[4].split()[1:])  # without the labels
        if text == "ignore_time_segment_in_scoring":
            continue
        if "<sil>" in text.split() or re.search(r"\(\S+-\S+\)$", text):
            raise first_release(path)
        found.append((start, end, text))
    return found


def first_release(path: Path) -> DataError:
    """The error about release 1, whose transcripts need other rules."""
    return DataError(
        f"{path}: TED-LIUM release 1, whose transcripts have <sil>, variants such as "
        f"(2) and names of utterances among the words; it is not supported. {WHERE}"
    )


def download(folder: Path, sets: list[str]) -> Path:
    """Download release 3 unless it is there; return its directory."""
    from lhotse.recipes import download_tedlium

    return Path(download_tedlium(folder))
