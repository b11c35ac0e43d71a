"""TED-LIUM, release 3 (its "legacy" partition) or 2: talks, transcribed, 16 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.errors import DataError, few

from .kaldi import Utterances, collect
from .reading import check_not_shortened, find_corpus, reading
from .text import CommonForm

if TYPE_CHECKING:
    from lhotse import SupervisionSegment

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


def spell(text: str) -> str:
    """A transcript as Kaldi's recipe has it: no <unk>, no [NOISE], suffixes joined.

    >>> spell("they 're <unk> here {NOISE} ' cause it 's")
    "they're here 'cause it's"
    """
    from lhotse.recipes.utils import normalize_text_tedlium

    marked = text.replace("{", "[").replace("}", "]")
    return " ".join(normalize_text_tedlium(marked, "kaldi").split())


def utterance(part: SupervisionSegment) -> str:
    """Talk and times in hundredths of a second, as in Kaldi's recipe."""
    start, end = (round(100 * t) for t in (part.start, part.end))
    return f"{part.recording_id}-{start:07d}-{end:07d}"


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """The sets, in the common form of transcripts; a talk is a speaker.

    Args:
        corpus_dir: a release, or the folder that it was unpacked in.
        allow_missing: leave out talks that lack their .sph or their .stm.

    Raises:
        DataError: a part is absent, not complete, or not readable.
    """
    root = find_corpus(corpus_dir, FOLDERS, MARKERS, WHERE)
    for name in sets:
        folder = root / "legacy" / SETS[name]
        if not folder.is_dir():  # release 2
            folder = root / SETS[name]
        yield name, read_part(name, folder, allow_missing)


def read_part(name: str, folder: Path, allow_missing: bool) -> Utterances:
    """The utterances of a folder with sph/ and stm/."""
    from lhotse import RecordingSet, SupervisionSet
    from lhotse.recipes.tedlium import _parse_stm_file

    audio = {path.stem: path for path in (folder / "sph").glob("*.sph")}
    texts = {path.stem: path for path in (folder / "stm").glob("*.stm")}
    talks = sorted(audio.keys() & texts)
    alone = audio.keys() ^ texts.keys()
    if not talks or (alone and not allow_missing):
        lost = few(sorted(alone)) or "all of them"
        raise DataError(
            f"{folder}: looked for sph/<talk>.sph and stm/<talk>.stm; without one of "
            f"them: {lost}. {WHERE}"
        )
    check_not_shortened(audio[talk] for talk in talks)
    for talk in talks:
        check_stm(texts[talk])
    form = CommonForm()
    with reading(folder):
        recordings = RecordingSet.from_dir(folder / "sph", pattern="*.sph")
    supervisions = SupervisionSet.from_segments(
        part.transform_text(lambda text: form(spell(text)))
        for talk in talks
        for part in _parse_stm_file(texts[talk])
    )
    found = collect(
        folder,
        recordings,
        supervisions,
        utt_of=utterance,
        speaker_of=lambda s: s.recording_id,
    )
    form.report(name)
    return found


def check_stm(path: Path) -> None:
    """Raise DataError for a line that is none of an STM file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        try:
            good = fields[0] == path.stem and float(fields[3]) < float(fields[4])
        except (IndexError, ValueError):
            good = False
        if not good or len(fields) < 6:
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is no line of an STM file of this "
                "talk: <talk> <channel> <speaker> <start> <end> <labels> words; get "
                "the file again"
            )


def download(folder: Path, sets: list[str]) -> Path:
    """Fetch release 3, all of it, unless it is there; return its folder."""
    from lhotse.recipes import download_tedlium

    return Path(download_tedlium(folder))
