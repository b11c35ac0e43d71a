"""What a training run needs of GPUs, memory, disk and days, before it starts.

  plan --config conf/paper/ssl_w2vbert_l.yaml --hours 60000 --ngpu 32 --gpu h100

It needs no GPU and no data. What each figure rests on: docs/planning.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence

from espnet_a2m.core.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # the defaults are those of Resources
    )
    add = parser.add_argument
    add("--config", required=True, help="of pre-training or of a recogniser")
    add("--hours", type=float, required=True, help="audio in the training set")
    add("--ngpu", type=int, help="GPUs of all machines together [8]")
    add("--gpu", help="v100, a10, a40, a100-40, a100, l40s, h100 or h200 [a100]")
    add("--utilisation", type=float, nargs="+", help="shares of its peak [0.1 0.3]")
    add("--updates", type=int, help="in place of the configuration's max_epoch")
    add("--seconds", type=float, help="of an utterance [crop_duration, or 12.3]")
    add("--longest", type=float, help="of the longest [crop_duration, or 32]")
    add("--nbpe", type=int, help="vocabulary of a recogniser [1024]")
    add("--tokens_per_second", type=float, help="of its transcripts [4]")
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the estimates."""
    options = vars(get_parser().parse_args(cmd))
    config = options.pop("config")
    quiet = io.StringIO()  # ESPnet and torch speak of parts that are not run here
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        from espnet_a2m.training.estimate import Resources, estimate_config

        estimates = estimate_config(config, Resources(**options))
    print(*estimates, sep="\n")


if __name__ == "__main__":
    main()
