"""Runs the cells of a sweep: what they share first, once, then each of them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.processes import Job, run_jobs
from espnet_a2m.evaluation.sweep import Cell, Description, command_line

SHOWN = 15  # lines of the log of a cell that failed


def run_cells(
    recipe: Sequence[str],
    cells: Sequence[Cell],
    described: Mapping[str, Description],
    stages: Mapping[str, str],
    output: Path,
    nj: int,
    ngpu: int,
) -> None:
    """Run a sweep. Each part is the recipe's own run.sh, which resumes.

    Args:
        recipe: ``./run.sh`` and the options of all cells.
        cells: All cells.
        described: Name of a cell -> what the recipe says of it.
        stages: Options of run.sh: ``data`` and ``scorer``, to be run once for all
            cells of the same data or scorer, and ``cell``; those that are to run.
        output: Folder of the logs.
        nj: Cells at the same time.
        ngpu: GPUs of each.

    Raises:
        UserError: Parts failed; the others were run.
    """

    def key(part: str, cell: Cell) -> str:  # jobs with the same are the same
        return getattr(described[str(cell)], part, str(cell))

    failed: list[Job] = []
    left = list(cells)
    for part in ("data", "scorer", "cell"):
        jobs: dict[str, Job] = {}
        for cell in left:
            if part in stages and key(part, cell) not in jobs:
                name = str(cell) if part == "cell" else f"{part} of {cell}"
                command = command_line(recipe, cell, stages[part])
                log = output / f"{name.replace(' ', '_')}.log"
                jobs[key(part, cell)] = Job(name, command, log)
        # different data are written into the same folders
        ended = run_jobs(list(jobs.values()), 1 if part == "data" else nj, ngpu)
        failed += ended
        left = [cell for cell in left if jobs.get(key(part, cell)) not in ended]
    if failed:
        show_failed(failed)
        names = ", ".join(job.name for job in failed)
        raise UserError(
            f"failed: {names}; {len(left)} of {len(cells)} cells are complete. After "
            "fixing the cause run the sweep again: it resumes"
        )


def show_failed(failed: Sequence[Job]) -> None:
    """Print the end of each log, and the command that resumes."""
    for job in failed:
        print(f"\n{job.name} failed; the end of {job.log}:", file=sys.stderr)
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[-SHOWN:]:
            print(f"    {line}", file=sys.stderr)
        print(f"Resume it alone: {shlex.join(job.command)}", file=sys.stderr)
