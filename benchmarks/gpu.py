"""The pre-training step on a GPU in bfloat16; only where there is one.

Prints time with and without guidance, what waits for the device, and audio hours per
GPU hour. There is no peer in this group.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch

from benchmarks import pretraining_step
from benchmarks.audio import noise
from benchmarks.report import Row


def host_syncs(step: Callable[[], object]) -> int:
    """How often one ``step`` makes the host wait for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(w.message) for w in caught)


def seconds_of(step: Callable[[], object], count: int) -> float:
    """Wall-clock seconds of one of ``count`` steps in a row, the device included."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / count


def measure(
    batch: int = 32, seconds: float = 16.0, rounds: int = 15, count: int = 10
) -> list[Row]:
    """The rows of this group; none without a GPU."""
    if not torch.cuda.is_available():
        return []
    speech = noise(batch, seconds).cuda()
    steps = {}
    for guidance in ("high", "uniform"):
        steps[guidance] = pretraining_step.ours(
            speech, "wav2vec 2.0", "logmel", guidance, autocast=torch.bfloat16
        )
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        seconds_of(step, count)
    for _ in range(rounds):
        for name, step in steps.items():
            samples[name].append(seconds_of(step, count))
    at = f"{torch.cuda.get_device_name()}, bf16, {batch} x {seconds:g} s"
    row = Row.compare(
        "guided step, wav2vec 2.0, log-mel",
        at,
        "uniform masks",
        samples["high"],
        samples["uniform"],
        1.01,
        at_most=True,
    )
    hours = batch * seconds / (row.ours * 1e-3)
    print(f"{at}: {hours:.0f} hours of audio per GPU hour, guided")
    syncs = float(host_syncs(steps["high"]))
    waits = Row(
        "host syncs in a guided step", at, "none", syncs, 0.0, "", syncs, syncs, syncs,
        0.0, at_most=True,
    )  # fmt: skip
    return [row, waits]
