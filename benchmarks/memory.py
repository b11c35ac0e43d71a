"""Peak memory of the contrastive loss, each implementation in a process of its own.

What counts is resident memory as the system sees it: the highest value during one
forward and backward pass, less the value just before, when the inputs are there and
a small pass has loaded what libraries load on first use. Freed memory goes back to
the system at once in these processes, so that what a pass leaves behind does not
hide what the next one takes. Linux only.

``python -m benchmarks.memory <implementation> <B> <M>`` prints bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks import contrastive
from benchmarks.report import Row

BATCH, MASKED = 16, 490
TARGETS = {"transformers": 10.0}


def resident(field: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (highest) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def peak(name: str, batch: int, masked: int) -> int:
    """Bytes that one pass of implementation ``name`` takes beside its inputs."""
    torch.set_num_threads(1)
    make = contrastive.candidates(2, 20)[name]
    make(contrastive.Frames.random(2, 20))()
    run = make(contrastive.Frames.random(batch, masked))
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts from VmRSS again
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def measure(batch: int = BATCH, masked: int = MASKED) -> list[Row]:
    """The rows of this group; none where the system does not tell peak memory."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        return []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    bytes_of = {}
    for name in contrastive.candidates(batch, masked):
        command = [sys.executable, "-m", "benchmarks.memory", name]
        answer = subprocess.run(
            [*command, str(batch), str(masked)],
            env={**environment, "MALLOC_TRIM_THRESHOLD_": "0"},
            cwd=Path(__file__).resolve().parents[1],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        bytes_of[name] = float(answer.stdout.split()[-1])
    own = bytes_of.pop("ours")
    return [
        Row.compare(
            "contrastive loss, peak memory",
            f"B {batch} x {masked} masked, C {contrastive.DIM}",
            name,
            [own],
            [theirs],
            TARGETS.get(name),
            unit="MB",
            scale=1e-6,
        )
        for name, theirs in bytes_of.items()
    ]


if __name__ == "__main__":
    print(peak(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
