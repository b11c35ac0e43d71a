"""A step of a small transformer in two threads: what waiting threads cost.

    python benchmarks/threads.py              on this machine as it is
    python benchmarks/threads.py --neighbour  beside a program that uses a processor

Each setting runs in a process of its own, in turns; the recipes set GOMP_SPINCOUNT=600
(local/names.sh). Prints medians of wall-clock milliseconds a step and their ratio to
one thread's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

STEP = """
import sys, time, torch
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(96, 4, 384, batch_first=True)
model, x = torch.nn.TransformerEncoder(layer, 4), torch.randn(4, 150, 96)
for number in range(int(sys.argv[1]) + 2):
    if number == 2:
        begin = time.perf_counter()
    model(x).sum().backward()
print((time.perf_counter() - begin) / int(sys.argv[1]) * 1e3)
"""
SETTINGS = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "two threads, passive": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    "two threads, 600 spins": {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "600"},
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neighbour", action="store_true")
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    other = None
    if args.neighbour:
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    found: dict[str, list[float]] = {name: [] for name in SETTINGS}
    try:
        for _ in range(3):
            for name, more in SETTINGS.items():
                command = [sys.executable, "-c", STEP, str(args.steps)]
                env = {**os.environ, **more}
                found[name].append(float(subprocess.check_output(command, env=env)))
    finally:
        if other is not None:
            other.kill()
    one = statistics.median(found["one thread"])
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{name:<24}{median:8.1f} ms{median / one:8.2f}x")


if __name__ == "__main__":
    main()
