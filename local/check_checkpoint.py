#!/usr/bin/env python3
"""Make the directory of a killed ESPnet training one that it can resume from."""

import argparse
import logging
from pathlib import Path

from espnet_a2m.bin import import_quietly


def main() -> None:
    """Repair the named directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="Directory of the training")
    exp = parser.parse_args().exp
    if not (exp / "checkpoint.pth").exists():
        return  # nothing was trained yet
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    import_quietly("espnet2.train.reporter")
    from espnet_a2m.checkpoint import repair

    repair(exp)


if __name__ == "__main__":
    main()
