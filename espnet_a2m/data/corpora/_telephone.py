"""Names for what is said on one side of a telephone call, as in Kaldi's recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import SupervisionSegment


def call_side(part: SupervisionSegment) -> str:
    """The speaker: a call and its side. (A person who calls twice is two speakers.)"""
    return f"{part.recording_id}-{'AB'[part.channel]}"


def call_utterance(part: SupervisionSegment) -> str:
    """The speaker, and times in hundredths of a second."""
    start, end = (round(100 * t) for t in (part.start, part.end))
    return f"{call_side(part)}_{start:06d}-{end:06d}"
