"""Ids of speakers and utterances of telephone calls, as in Kaldi's recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espnet_a2m.data.corpora._kaldi import hundredths

if TYPE_CHECKING:
    from lhotse import SupervisionSegment


def call_side(part: SupervisionSegment) -> str:
    """The speaker: a call and its side. (A person who calls twice is two speakers.)"""
    return f"{part.recording_id}-{'AB'[part.channel]}"


def call_utterance(part: SupervisionSegment) -> str:
    """The speaker, and times in hundredths of a second."""
    return f"{call_side(part)}_{hundredths(part.start, part.end, digits=6)}"
