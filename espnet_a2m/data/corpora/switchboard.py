"""Switchboard-1: telephone conversations, two channels of mu-law, 8 kHz."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.data.corpora._kaldi import Utterances, collect
from espnet_a2m.data.corpora._reading import (
    check_sphere,
    files_below,
    read_lines,
    reading,
    report_missing,
)
from espnet_a2m.data.corpora._telephone import call_side, call_utterance
from espnet_a2m.data.formatting.spelling import CommonForm

if TYPE_CHECKING:
    from lhotse import SupervisionSegment

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
    return " ".join(filter(None, map(_spell_word, text.split())))


def _spell_word(word: str) -> str:
    for pattern, replacement in _WORD_RULES:
        word = pattern.sub(replacement, word)
    return word.strip("-")


def prepare(
    corpus_dir: Path, sets: list[str], allow_missing: bool = False
) -> Iterator[tuple[str, Utterances]]:
    """The conversations, in the common form of transcripts; a side is a speaker.

    Args:
        corpus_dir: contains *.sph and *-trans.text files.
        allow_missing: leave out conversations without transcripts.

    Raises:
        DataError: files are missing or damaged, or the audio is compressed by shorten.
    """
    from lhotse import Recording, RecordingSet

    files = list(files_below(corpus_dir))
    audio = {path.stem: path for path in files if path.suffix == ".sph"}
    texts = {
        path.stem.split("-")[0]: path for path in files if path.match("sw*-trans.text")
    }
    for kind, some in (("sw0*.sph", audio), ("sw*-trans.text", texts)):
        if not some:
            raise DataError(f"{corpus_dir}: no {kind} anywhere below it. {WHERE}")
    sides = {
        (call, channel): texts.get(f"{call.replace('sw0', 'sw')}{'AB'[channel]}")
        for call in audio
        for channel in (0, 1)
    }
    missing = {call for (call, _), path in sides.items() if path is None}
    if missing:
        message = (
            f"{corpus_dir}: {len(missing)} conversations have no transcript of both "
            f"sides: {preview(sorted(missing))}"
        )
        report_missing(message, WHERE, allow_missing)
    check_sphere(corpus_dir, audio.values())
    form = CommonForm()
    with reading(corpus_dir):
        recordings = RecordingSet.from_recordings(
            Recording.from_file(path)
            for call, path in audio.items()
            if call not in missing
        )
    supervisions = (
        part
        for (call, channel), path in sides.items()
        if call not in missing and path is not None
        for part in read_side(path, call, channel)
    )
    found = collect(
        corpus_dir,
        recordings,
        supervisions,
        utt_of=call_utterance,
        speaker_of=call_side,
        text_of=lambda text: form(spell(text), text),
    )
    form.report("switchboard")
    yield "switchboard", found


def read_side(path: Path, call: str, channel: int) -> list[SupervisionSegment]:
    """The transcript of a side of a call: "<utterance> <start> <end> <words>" a line.

    lhotse's reader stops at a truncated line without naming the file.

    Raises:
        DataError: a line is not of this form.
    """
    from lhotse import SupervisionSegment

    found = []
    for number, line in read_lines(path):
        utt, *rest = line.split(maxsplit=3)
        try:
            start, end, text = float(rest[0]), float(rest[1]), rest[2]
        except (IndexError, ValueError):
            raise DataError(
                f"{path}:{number}: {line[:60]!r} is not <utterance> <start> <end> "
                f"<words>; copy the file again. {WHERE}"
            ) from None
        if text.split()[0] != "[silence]":
            length = round(end - start, 8)
            found.append(SupervisionSegment(utt, call, start, length, channel, text))
    return found
