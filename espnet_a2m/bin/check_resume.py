"""Say what forbids a recipe to resume an experiment; nothing if it may.

Reads what the driver notes of a step from its standard input: a line of the command,
then one for each input with the sum of its content.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import main_guard
from espnet_a2m.training.resume import find_changes


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the changes on one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True, help="The experiment")
    parser.add_argument("inputs", nargs="*", help="Files that the step reads")
    args = parser.parse_args(cmd)
    begun = args.exp / ".begun"
    if not begun.exists():
        print(f"{begun}, which tells how it was trained, is missing")
        return
    text = begun.read_text(encoding="utf-8")
    print("; ".join(find_changes(args.exp, text, sys.stdin.read(), args.inputs)))


if __name__ == "__main__":
    main()
