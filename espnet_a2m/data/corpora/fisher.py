"""Fisher English, parts 1 and 2: telephone conversations, two channels, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "Fisher English is LDC2004S13, LDC2005S13 (speech), LDC2004T19 and LDC2005T19 "
    "(transcripts), under LDC's licence (https://catalog.ldc.upenn.edu/LDC2004S13): "
    "put the four folders, or links to them, beside each other."
)
SETS = {"fisher": "all conversations; this corpus has no test set"}
SOURCE = "Kaldi's recipe"
PUBLISHED = {"fisher": {"recordings": 11699}}
SPEECH = ("LDC2004S13", "LDC2005S13")
TRANSCRIPTS = ("LDC2004T19", "LDC2005T19")

_LINE = re.compile(r"\s*(\d+(?:\.\d*)?)\s+(\d+(?:\.\d*)?)\s+([AB]):(?:\s(.*))?")


def spell(text: str) -> str:
    """The words of a transcript; "" where the transcriber was unsure.

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
) -> Iterator[tuple[str, shared.Utterances]]:
    """The conversations, in the common form of transcripts; a side is a speaker.

    `corpus_dir` contains LDC2004S13, LDC2005S13, LDC2004T19 and LDC2005T19; with
    `allow_missing`, a single part (1: 2004, 2: 2005) is sufficient.
    """
    form = CommonForm()
    found = shared.Utterances(corpus_dir)
    calls = find_calls(corpus_dir, allow_missing)
    infos = shared.read_audio_infos(corpus_dir, (sphere for sphere, _ in calls))
    for (_, transcript), info in zip(calls, infos.values(), strict=True):
        for channel, start, end, said in read_transcript(transcript):
            if text := form(spell(said), said):
                found.add_call(info, channel, start, min(end, info.seconds), text)
    form.report("fisher")
    yield "fisher", found


def find_calls(corpus_dir: Path, allow_missing: bool) -> list[tuple[Path, Path]]:
    """Audio and transcript of the calls of the parts, each of which is complete."""
    calls: list[tuple[Path, Path]] = []
    for part, (speech, transcripts) in enumerate(zip(SPEECH, TRANSCRIPTS), 1):
        inner = f"{transcripts}/fe_03_p{part}_tran"  # in LDC's archive
        if (corpus_dir / inner).is_dir():
            transcripts = inner
        audio = {
            p.stem: p for p in shared.visible(corpus_dir / speech, "*/audio/*/*.sph")
        }
        home = corpus_dir / transcripts
        texts = {p.stem: p for p in shared.visible(home, "data/trans/*/*.txt")}
        if not (audio and texts):
            if allow_missing:
                continue
            raise DataError(
                f"{corpus_dir}: looked for {speech}/<disc>/audio/<nnn>/*.sph and "
                f"{transcripts}/data/trans/<nnn>/*.txt: {len(audio)} and {len(texts)} "
                f"files. {WHERE} {shared.PARTIAL}"
            )
        if unpaired := audio.keys() ^ texts:
            raise DataError(
                f"{corpus_dir}: {len(unpaired)} conversations of {speech} and "
                f"{transcripts} are in one of them only: {preview(sorted(unpaired))}. "
                f"{WHERE}"
            )
        calls += [(path, texts[call]) for call, path in audio.items()]
    if not calls:
        raise DataError(f"{corpus_dir}: neither part 1 nor part 2 is there. {WHERE}")
    return calls


def read_transcript(path: Path) -> list[tuple[int, float, float, str]]:
    """Channel, start and end in seconds, and words of what is said in a call."""
    found = []
    for number, line in shared.read_lines(path):
        if number <= 3:  # about the file
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not <start> <end> <A or B>: "
                f"<words>; copy the file again. {WHERE}"
            )
        start, end = float(match[1]), float(match[2])
        if path.stem == "fe_03_11487" and (start, end) == (31.09, 234.06):
            start = 231.09  # a mistake in the transcript
        found.append(("AB".index(match[3]), start, end, match[4] or ""))
    return found
