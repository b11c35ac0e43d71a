"""Run a grid of systems and seeds of a recipe, and compare the systems.

Started by ``./run.sh --sweep conf/sweeps/<name>.yaml`` (docs/sweeps.md).
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import main_guard
from espnet_a2m.core.processes import tell


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Check all cells, run what they share, then each of them, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("config", type=Path, help="The sweep, a YAML file")
    add("recipe", nargs="+", help="./run.sh and the options of all cells")
    add("--expdir", type=Path, required=True, help="For sweep_<name>: logs, RESULTS.md")
    add("--nj", type=int, default=1, help="Cells at the same time [1]")
    add("--ngpu", type=int, default=0, help="GPUs of each, of this machine [0]")
    add("--base", action="append", default=[], help="<name>_args=<words> of all cells")
    parts = "Options of run.sh for the parts: data and scorer, which are run once for "
    parts += "cells that share them; cell; all of these"
    add("--stages", action="append", default=[], metavar="PART=OPTIONS", help=parts)
    args = parser.parse_args(cmd)
    from espnet_a2m.bin.check_recipe import check
    from espnet_a2m.evaluation.sweep import check_cells, make_cells, read_sweep
    from espnet_a2m.evaluation.sweep_run import run_cells

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(number, signal.default_int_handler)
    stages, base = (
        dict(words.split("=", 1) for words in given)
        for given in (args.stages, args.base)
    )
    path, name, recipe = args.config, args.config.stem, args.recipe
    sweep = read_sweep(path, recipe)
    cells = make_cells(name, sweep, base)
    tell(f"{path}: checking {len(cells)} cells of {len(sweep.systems)} systems")
    described = check_cells(path, recipe, cells, stages["all"], check)
    output = args.expdir / f"sweep_{name}"
    run_cells(recipe, cells, described, stages, output, args.nj, args.ngpu)
    if "cell" not in stages:
        return
    from espnet_a2m.evaluation.sweep_report import write_report

    report = output / "RESULTS.md"
    print(write_report(report, f"Sweep {name}", sweep, cells, described))
    print(f"written to {report}")


if __name__ == "__main__":
    main()
