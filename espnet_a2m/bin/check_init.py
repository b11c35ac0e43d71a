"""Say what --init_param will find in a stock ESPnet ASR model.

Takes the options of espnet_a2m.bin.asr_train (see its --help), such as
--init_param PATH:SRC:DST --config FILE.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the matched keys; fail when an ``--init_param`` fills none or too few."""
    cmd = sys.argv[1:] if cmd is None else cmd
    # --help without ESPnet
    argparse.ArgumentParser(description=__doc__).parse_known_args(cmd)
    import_quietly("espnet2.tasks.asr")
    from espnet_a2m.compat.init_param import check_init_param
    from espnet_a2m.training.asr_task import A2MASRTask

    args = A2MASRTask.get_parser().parse_args([*cmd, "--output_dir", "unused"])
    model = A2MASRTask.build_model(args)
    for init_param in args.init_param:
        check_init_param(init_param, model)


if __name__ == "__main__":
    main()
