"""Long recordings are cut where they are quietest; nothing of them is lost."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.audio import Recording, to_float32

FRAME = 0.02  # seconds
PAUSE = 0.3  # seconds that are to be quiet together
BLOCK = 60.0  # seconds in memory
#: A piece has at least this share of the longest
SHORTEST = 0.5


class Span(NamedTuple):
    """A part of a recording to cut."""

    audio: str
    channel: int | None
    start: float  # seconds
    end: float
    longest: float  # of a piece


def cut_at_pauses(span: Span) -> list[float] | str:
    """Where to cut, in seconds, or what is wrong with the audio."""
    try:
        return quietest_points(frame_power(span), span)
    except DataError as error:
        return str(error)


def frame_power(span: Span) -> np.ndarray:
    """(T,) mean power of frames of 20 ms. Raises DataError."""
    powers = []
    with contextlib.closing(Recording(span.audio, span.channel)) as recording:
        rate = recording.info.rate
        stop = min(round(span.end * rate), recording.info.frames)
        size = max(1, round(FRAME * rate))
        step = size * round(BLOCK / FRAME)
        for first in range(round(span.start * rate), stop, step):
            samples = recording.read(first, min(first + step, stop))
            count = len(samples) // size
            frames = to_float32(samples[: count * size]).reshape(count, size)
            # a constant is no sound
            powers.append(frames.var(axis=1, dtype=np.float64))
    return np.concatenate(powers)


def quietest_points(power: np.ndarray, span: Span) -> list[float]:
    """Ends of the pieces, that of the span included.

    Each piece ends at the quietest point between half of ``span.longest`` and all of
    it: where the power over 0.3 s is least, of several such points at the last.
    """
    width = round(PAUSE / FRAME)
    around = np.convolve(power, np.ones(width), "same")
    ends, begin = [], span.start
    while span.end - begin > span.longest:
        rest = span.end - begin
        # what is left is not much shorter than a piece may be
        most = min(span.longest, rest - SHORTEST * span.longest)
        least = min(SHORTEST * span.longest, most - FRAME)
        first, last = (
            max(1, int((begin + x - span.start) / FRAME)) for x in (least, most)
        )
        window = around[first : last + 1]
        quiet = len(window) - 1 - int(np.argmin(window[::-1]))
        begin = span.start + (first + quiet) * FRAME
        ends.append(round(begin, 6))
    return [*ends, span.end]
