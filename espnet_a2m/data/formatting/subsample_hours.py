"""Draw hours of a set at random, for statistics that need not be of all of it.

Writes the drawn lines of each table to the output directory, under the table's own
name. All lines are drawn of a set that is not longer.
"""

from __future__ import annotations

import argparse
import contextlib
import random
from pathlib import Path

from espnet_a2m.core.errors import DataError, main_guard
from espnet_a2m.core.files import atomic_writer
from espnet_a2m.data.tables import iter_counts, iter_scp, join_utterances, write_lines


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--fs", type=int, required=True, help="Hz")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("lengths", type=Path, metavar="utt2num_samples")
    parser.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    args = parser.parse_args(argv)
    total = sum(count for _, count in iter_counts(args.lengths))
    share = 3600 * args.hours * args.fs / total
    rng = random.Random(args.seed)
    drawn = 0
    with contextlib.ExitStack() as stack:
        targets = [args.output_dir / table.name for table in args.tables]
        streams = [stack.enter_context(atomic_writer(target)) for target in targets]
        tables = [(table, iter_scp(table)) for table in args.tables]
        for utt_id, row in join_utterances(tables, "make it again", same=True):
            if rng.random() < share:
                drawn += 1
                for stream, target, value in zip(streams, targets, row):
                    write_lines(stream, target, [(utt_id, value)])
        if not drawn:
            raise DataError(
                f"{args.lengths}: nothing was drawn for {args.hours:g} h: take more"
            )
    print(f"{args.output_dir}: {drawn} utterances for statistics")
