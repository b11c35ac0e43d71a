"""Pre-train with ESPnet's own options: ``--config``, ``--print_config``, ..."""

from __future__ import annotations

import os
from collections.abc import Sequence

from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Train, or collect statistics with ``--collect_stats true``."""
    from espnet_a2m.data.streams import check_rate, check_streams, splits
    from espnet_a2m.training.continue_from import start_from
    from espnet_a2m.training.task import A2MTask, sampling_rate

    args = A2MTask.get_parser().parse_args(cmd)
    # of the processes that torchrun starts on a machine, the first one checks
    if os.environ.get("LOCAL_RANK", "0") == "0":
        train = args.train_data_path_and_name_and_type
        sets = list(splits(train)) if args.multiple_iterator else [train]
        for streams in [*sets, args.valid_data_path_and_name_and_type]:
            check_streams(streams)
            check_rate(streams, sampling_rate(args))
    if args.ssl_init and not args.collect_stats:
        start_from(args)
    A2MTask.main(args=args)


if __name__ == "__main__":
    main()
