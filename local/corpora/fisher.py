"""Fisher English, parts 1 and 2: telephone conversations, two channels, 8 kHz."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.errors import DataError, few

from .kaldi import Utterances, collect
from .reading import check_not_shortened, reading
from .telephone import call_side, call_utterance
from .text import CommonForm

WHERE = (
    "Fisher English is LDC2004S13, LDC2005S13 (speech), LDC2004T19 and LDC2005T19 "
    "(transcripts), under LDC's licence (https://catalog.ldc.upenn.edu/LDC2004S13): "
    "put the four folders beside each other."
)
SETS = {"fisher": "all conversations; there is no test set in this corpus"}
SOURCE = "Kaldi's recipe"
PUBLISHED = {"fisher": {"recordings": 11699}}
SPEECH = ("LDC2004S13", "LDC2005S13")
TRANSCRIPTS = ("LDC2004T19", "LDC2005T19")


def spell(text: str) -> str:
    """The words of a transcript; "" when the transcriber was not sure of them.

    As in Kaldi's recipe, an utterance with "((" in it is left out.

    >>> spell("an- so the topic is [laughter] t._v.")
    'an so the topic is t v'
    """
    if "((" in text:
        return ""
    words = re.sub(r"\[[^\]]*\]", " ", text).replace("._", " ")
    return " ".join(word.strip("-.") for word in words.split())


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """The conversations, in the common form of transcripts; a side is a speaker.

    Args:
        corpus_dir: has LDC2004S13, LDC2005S13, LDC2004T19 and LDC2005T19.
        allow_missing: take the part (1: 2004, 2: 2005) that is there.

    Raises:
        DataError: a part is absent or not complete, or the audio is compressed by
            shorten.
    """
    from lhotse.recipes import prepare_fisher_english

    parts = check_layout(corpus_dir, allow_missing)
    form = CommonForm()
    # lhotse wants a folder for its manifests
    with tempfile.TemporaryDirectory() as manifests, reading(corpus_dir):
        read = prepare_fisher_english(
            corpus_dir,
            manifests,
            audio_dirs=[SPEECH[part] for part in parts],
            transcript_dirs=[TRANSCRIPTS[part] for part in parts],
            absolute_paths=True,
        )
        found = collect(
            corpus_dir,
            read["recordings"].to_eager(),
            (
                part.transform_text(lambda text: form(spell(text)))
                for part in read["supervisions"]
            ),
            utt_of=call_utterance,
            speaker_of=call_side,
        )
    form.report("fisher")
    yield "fisher", found


def check_layout(corpus_dir: Path, allow_missing: bool) -> list[int]:
    """Which of the two parts are there, each with all its transcripts.

    Raises:
        DataError: see `prepare`.
    """
    parts = []
    for part, (speech, transcripts) in enumerate(zip(SPEECH, TRANSCRIPTS)):
        audio = {p.stem: p for p in (corpus_dir / speech).glob("*/audio/*/*.sph")}
        texts = {p.stem for p in (corpus_dir / transcripts).glob("data/trans/*/*.txt")}
        table = [*(corpus_dir / transcripts).glob("doc/**/*_calldata.tbl")]
        if not (audio and texts and table):
            if allow_missing:
                continue
            raise DataError(
                f"{corpus_dir}: looked for {speech}/<disc>/audio/<nnn>/*.sph, "
                f"{transcripts}/data/trans/<nnn>/*.txt and "
                f"{transcripts}/doc/*_calldata.tbl: {len(audio)}, {len(texts)} and "
                f"{len(table)} files. {WHERE}"
            )
        if alone := audio.keys() ^ texts:
            raise DataError(
                f"{corpus_dir}: {len(alone)} conversations of {speech} and "
                f"{transcripts} are in one of them only: {few(sorted(alone))}. {WHERE}"
            )
        check_not_shortened(audio.values())
        parts.append(part)
    if not parts:
        raise DataError(f"{corpus_dir}: neither part 1 nor part 2 is there. {WHERE}")
    return parts
