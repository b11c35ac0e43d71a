"""Switchboard-1: telephone conversations, two channels of mu-law, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora import _shared as shared
from espnet_a2m.data.formatting.spelling import CommonForm

WHERE = (
    "Switchboard-1 release 2 is LDC97S62 (https://catalog.ldc.upenn.edu/LDC97S62, "
    "under LDC's licence); its transcripts, swb_ms98_transcriptions, are free: unpack "
    "https://www.openslr.org/resources/5/switchboard_word_alignments.tar.gz in it."
)
SETS = {"switchboard": "all conversations; this corpus has no test set"}
SOURCE = "Kaldi's recipe, which also knows copies with 2,435"
PUBLISHED = {"switchboard": {"recordings": 2438}}

_WORD_RULES = [
    (re.compile(pattern, re.I), replacement)
    for pattern, replacement in (
        (r"^-?\[laughter-(.+)\]-?$", r"\1"),  # [laughter-yeah]
        (r"^\[(.+)/.+\]-?$", r"\1"),  # [it'n/isn't]: as it was said
        (r"^([^\[\]]+)\[.+\]$", r"\1"),  # ex[specially]-/especially], a mistake in it
        (r"^\{(.+)\}$", r"\1"),  # {yuppiedom}: a new word
        (r"\[[^\]]+\]", ""),  # ab[solute]-, -[an]y: what was not said; [noise]
        (r"_\d", ""),  # them_1
        (r"^</?[be]_aside>$", ""),  # <b_aside>: spoken to somebody else
    )
]


def spell(text: str) -> str:
    """The words of a Mississippi State transcript as they were said.

    >>> spell("[laughter-yeah] [noise] i [it'n/isn't] ab[solute]- {yuppiedom} them_1")
    "yeah i it'n ab yuppiedom them"
    """
    words = []
    for word in text.split():
        for pattern, replacement in _WORD_RULES:
            word = pattern.sub(replacement, word)
        words.append(word.strip("-"))
    return " ".join(filter(None, words))


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, shared.Utterances]]:
    """The conversations, in the common form of transcripts; a side is a speaker.

    Below `corpus_dir` are *.sph and *-trans.text files.
    """
    files = list(shared.files_below(corpus_dir))
    audio = {path.stem: path for path in files if path.suffix == ".sph"}
    texts = {
        path.stem.split("-")[0]: path for path in files if path.match("sw*-trans.text")
    }
    for kind, some in (("sw0*.sph", audio), ("sw*-trans.text", texts)):
        if not some:
            raise DataError(f"{corpus_dir}: no {kind} anywhere below it. {WHERE}")
    calls = {}
    for call in audio:
        names = [f"{call.replace('sw0', 'sw')}{side}" for side in "AB"]
        if all(name in texts for name in names):
            calls[call] = [texts[name] for name in names]
    if missing := sorted(audio.keys() - calls):
        message = (
            f"{corpus_dir}: {len(missing)} conversations have no transcript of both "
            f"sides: {preview(missing)}"
        )
        shared.report_missing(message, WHERE, allow_missing)
    infos = shared.read_audio_infos(corpus_dir, (audio[call] for call in calls))
    form = CommonForm()
    found = shared.Utterances(corpus_dir)
    for info, sides in zip(infos.values(), calls.values(), strict=True):
        for channel, side in enumerate(sides):
            for start, end, said in read_side(side):
                if text := form(spell(said), said):
                    found.add_call(info, channel, start, end, text)
    form.report("switchboard")
    yield "switchboard", found


def read_side(path: Path) -> list[tuple[float, float, str]]:
    """Start and end in seconds and words of what is said on a side of a call."""
    found = []
    for number, line in shared.read_lines(path):
        try:
            _, start, end, text = line.split(maxsplit=3)
            part = float(start), float(end), text
        except ValueError:
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not <utterance> <start> <end> "
                f"<words>; copy the file again. {WHERE}"
            ) from None
        if text.split()[0] != "[silence]":
            found.append(part)
    return found
