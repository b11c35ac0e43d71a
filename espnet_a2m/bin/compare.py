"""Compare systems by their error rates; each experiment of a system is a seed.

  compare --system scratch exp/scorer_s1 exp/scorer_s2 exp/scorer_s3 \
      --system guided exp/asr_s1 exp/asr_s2 exp/asr_s3 --output compare.md

Writes a table, and what it shows to a file of the same name with .json.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import UserError, main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Read the results of the experiments, compare them, write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    systems = "A system's name, and an experiment directory for each of its seeds"
    option("--system", nargs="+", action="append", required=True, help=systems)
    option("--reference", help="System that others are compared with [the first]")
    option("--decoding", help="Decoding directory, such as decode_ctc [all]")
    option("--test_sets", nargs="+", help="[all that every experiment has]")
    groups = "Tables utt2spk, utt2lang, ... of test sets, to compare by group as well"
    option("--groups", nargs="+", default=[], help=groups)
    option("--output", default="compare.md", help="[compare.md]")
    args = parser.parse_args(cmd)
    names = Counter(name for name, *_ in args.system)
    faults = [f"--system {n}: given {c} times" for n, c in names.items() if c > 1]
    empty = [name for name, *paths in args.system if not paths]
    faults += [f"--system {name}: no experiment directories" for name in empty]
    if faults:
        raise UserError("; ".join(faults))
    from espnet_a2m.core.files import write_atomic
    from espnet_a2m.evaluation.compare import compare, format_comparison

    found = compare(
        {name: paths for name, *paths in args.system},
        reference=args.reference,
        decoding=args.decoding,
        test_sets=args.test_sets,
        groups=args.groups,
    )
    output = Path(args.output)
    text = format_comparison(found)
    write_atomic(output, text)
    write_atomic(output.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    print(text + f"\nwritten to {output} and {output.with_suffix('.json')}")


if __name__ == "__main__":
    main()
