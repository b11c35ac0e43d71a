"""Prints the speed table: ours beside its peers, same work, in turns.

    python benchmarks/run.py                     every group, kept in README.md
    python benchmarks/run.py masks contrastive   only these; their rows are replaced
    python benchmarks/run.py --json out.json     into this file, nothing is kept

Run it in the environment that `make bench` makes; a peer that is missing is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "benchmarks" / "README.md"
RESULTS = ROOT / "benchmarks" / "results.json"
BEGIN, END = "<!-- results: written by run.py -->", "<!-- end of results -->"
GROUPS = (
    "masks",
    "contrastive",
    "memory",
    "pretraining_step",
    "guidance",
    "scoring",
    "storage",
    "gpu",
)
#: What decides over the CPU time of allocations is the same for everybody, and what
#: recipes set (local/a2m.sh): freed memory is kept, up to 1 GB in one piece. Read when
#: a process starts.
ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "OMP_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "PYTHONPATH": str(ROOT),
}


def measure_of(group: str) -> Callable:
    """The function that measures a group; imports what the group needs."""
    import importlib

    if group == "guidance":
        from benchmarks.pretraining_step import measure_guidance

        return measure_guidance
    return importlib.import_module(f"benchmarks.{group}").measure


def machine() -> str:
    """Processor and system in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{model}, {os.cpu_count()} CPUs, {platform.system()}, one thread"


def render(results: dict) -> str:
    """The table and what it was measured with, in Markdown."""
    from benchmarks.report import Row, table

    rows = [Row(**row) for group in GROUPS for row in results["rows"].get(group, [])]
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    missed = [row for row in rows if not row.met]
    verdict = f"{len(missed)} of {len(rows)} rows miss their target."
    return (
        f"{table(rows)}\n\n{verdict}\n\nMachine: {results['machine']}.\n{versions}.\n"
    )


def keep(results: dict) -> None:
    """Put the table between the markers of README.md."""
    from espnet_a2m.core.files import write_atomic

    write_atomic(RESULTS, json.dumps(results, indent=1) + "\n")
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_atomic(README, f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}")


def main() -> None:
    """Measure the groups that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", help=", ".join(GROUPS))
    parser.add_argument("--json", type=Path, help="file for the results of this run")
    args = parser.parse_args()
    if unknown := [group for group in args.groups if group not in GROUPS]:
        parser.error(f"no group {unknown[0]!r}: choose of {', '.join(GROUPS)}")
    if any(os.environ.get(k) != v for k, v in ENVIRONMENT.items()):
        command = [sys.executable, "-m", "benchmarks.run", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})

    import dataclasses
    import logging

    import torch

    from benchmarks import peers
    from benchmarks.timing import release_memory
    from espnet_a2m.core.files import write_atomic

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    results: dict = {"machine": machine(), "versions": peers.versions(), "rows": {}}
    for group in args.groups or GROUPS:
        print(f"measuring {group}", file=sys.stderr, flush=True)
        rows = measure_of(group)()
        release_memory()
        results["rows"][group] = [dataclasses.asdict(row) for row in rows]
    print(render(results))
    if args.json:
        write_atomic(args.json, json.dumps(results, indent=1) + "\n")
        return
    if RESULTS.exists():
        kept = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
        results["rows"] = {**kept, **results["rows"]}
    keep(results)


if __name__ == "__main__":
    main()
