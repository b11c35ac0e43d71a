"""CPU time of several implementations of the same work, taken in turns."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

#: One sample lasts at least this long (s), so that the clock's steps do not show.
MIN_SAMPLE = 0.02


def calls_per_sample(run: Callable[[], object]) -> int:
    """How often to call ``run`` so that a sample is long enough; warms it up, too."""
    run()
    begin = time.process_time()
    run()
    once = time.process_time() - begin
    return max(1, round(MIN_SAMPLE / max(once, 1e-6)))


def interleave(
    runs: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """CPU seconds per call of each of ``runs``, ``rounds`` samples each.

    The runs take turns (a b c, a b c, ...), so that whatever slows the machine down
    for a while slows all of them down. CPU time of the whole process does not count
    the time in which other processes run.
    """
    repeats = {name: calls_per_sample(run) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            gc.collect()
            gc.disable()
            begin = time.process_time()
            for _ in range(repeats[name]):
                run()
            samples[name].append((time.process_time() - begin) / repeats[name])
            gc.enable()
    return samples


def ratios(over: list[float], under: list[float]) -> tuple[float, float, float]:
    """Ratio of the medians, and the smallest and largest ratio within a round."""
    each = [a / b for a, b in zip(over, under)]
    return (statistics.median(over) / statistics.median(under), min(each), max(each))
