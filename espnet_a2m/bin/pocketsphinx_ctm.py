"""Recognise a data set with PocketSphinx: word times and confidences as a CTM file.

  pocketsphinx_ctm --data dump/raw/train --output train.ctm --nj 4
  score --scorer ctm --scorer_conf file=train.ctm --data dump/raw/train ...

US English at 16 kHz; recogniser and model come with
`pip install espnet_a2m[pocketsphinx]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.core.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--data", required=True, help="Formatted data directory")
    option("--output", required=True, help="CTM file")
    option("--nj", type=int, default=1, help="Processes [1]")
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Recognise ``--data``; a second call goes on."""
    args = get_parser().parse_args(cmd)
    from espnet_a2m.confidence.pocketsphinx import FS, write_ctm
    from espnet_a2m.data.chunks import read_durations

    data = Path(args.data)
    durations = read_durations(data, FS)
    seconds = None if durations is None else dict(durations.items())
    write_ctm(data / "wav.scp", Path(args.output), args.nj, seconds)


if __name__ == "__main__":
    main()
