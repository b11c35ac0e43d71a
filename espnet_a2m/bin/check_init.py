"""Say what --init_param will find in a stock ESPnet ASR model.

Takes the options of espnet_a2m.bin.asr_train, which --help of that command lists.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """Return the one option that this command names itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--init_param",
        nargs="+",
        metavar="PATH:SRC:DST",
        help="Pre-trained model, its part and the part of the new model to fill",
    )
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the matched keys; fail when an ``--init_param`` fills none or too few."""
    cmd = sys.argv[1:] if cmd is None else cmd
    get_parser().parse_known_args(cmd)  # for --help, without ESPnet
    import_quietly("espnet2.tasks.asr")
    from espnet_a2m.compat.init_param import check_init_param
    from espnet_a2m.training.asr_task import A2MASRTask

    args = A2MASRTask.get_parser().parse_args([*cmd, "--output_dir", "unused"])
    model = A2MASRTask.build_model(args)
    for init_param in args.init_param:
        check_init_param(init_param, model)


if __name__ == "__main__":
    main()
