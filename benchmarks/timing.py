"""CPU time of several implementations of the same work, taken in turns."""

from __future__ import annotations

import ctypes
import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping

#: One sample lasts at least this long (s), so that the clock's steps do not show.
MIN_SAMPLE = 0.05


def user_time() -> float:
    """CPU seconds of this process, without those in which the system gave it memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def calls_per_sample(run: Callable[[], object]) -> int:
    """How often to call ``run`` so that a sample is long enough; warms it up, too."""
    run()
    begin = time.process_time()
    run()
    once = time.process_time() - begin
    return max(1, round(MIN_SAMPLE / max(once, 1e-6)))


def release_memory() -> None:
    """Give memory that was freed back to the system (glibc; elsewhere nothing)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def interleave(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    release: bool = False,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """CPU seconds per call of each of ``runs``, ``rounds`` samples each.

    The runs take turns (a b c, c b a, ...), so that whatever slows the machine down
    for a while slows all of them down, and nobody always follows the same other run.
    CPU time of the whole process does not count the time in which other processes run.

    With ``release``, what one of them leaves behind goes back to the system after its
    turn, for runs that would not fit into memory together. Give it
    ``user_time`` then, or getting the memory again counts as work.
    """
    repeats: dict[str, int] = {}
    samples: dict[str, list[float]] = {}
    for name, run in runs.items():
        repeats[name], samples[name] = calls_per_sample(run), []
        if release:
            release_memory()
    turns = list(runs.items())
    for _ in range(rounds):
        for name, run in turns:
            gc.collect()
            gc.disable()
            begin = clock()
            for _ in range(repeats[name]):
                run()
            samples[name].append((clock() - begin) / repeats[name])
            gc.enable()
            if release:
                release_memory()
        turns.reverse()
    return samples


def ratios(over: list[float], under: list[float]) -> tuple[float, float, float]:
    """Ratio of the medians, and the smallest and largest ratio within a round."""
    each = [a / b for a, b in zip(over, under)]
    return (statistics.median(over) / statistics.median(under), min(each), max(each))
