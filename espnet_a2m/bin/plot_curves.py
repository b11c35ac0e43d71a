"""Draw the training curves of an experiment into EXPDIR/images/curves.png."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import UserError, main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Read the statistics of each epoch and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", metavar="EXPDIR", help="Has checkpoint.pth")
    parser.add_argument("--output", help="PNG to write instead")
    args = parser.parse_args(cmd)
    from espnet_a2m.evaluation.plots import draw_curves
    from espnet_a2m.training.stats import read_stats

    experiment = Path(args.experiment)
    output = Path(args.output or experiment / "images" / "curves.png")
    if draw_curves(output, read_stats(experiment), experiment.name) is None:
        raise UserError(f"{experiment}: no epoch is complete yet: train it first")
    print(f"drawn: {output}")


if __name__ == "__main__":
    main()
