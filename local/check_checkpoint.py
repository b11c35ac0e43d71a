#!/usr/bin/env python3
"""Remove a checkpoint.pth that was cut off while ESPnet wrote it.

ESPnet writes it in place and cannot resume from a part. Without it the training
starts anew, which with the same seed ends with the same model.
"""

import argparse
import sys
from pathlib import Path

from espnet_a2m.checkpoint import CHECKPOINT, is_whole


def main() -> None:
    """Check the checkpoint of the named directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, help="Directory of the training")
    checkpoint = parser.parse_args().exp / CHECKPOINT
    if checkpoint.exists() and not is_whole(checkpoint):
        print(f"{checkpoint} is incomplete: training starts anew", file=sys.stderr)
        checkpoint.unlink()


if __name__ == "__main__":
    main()
