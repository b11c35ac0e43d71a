"""Pre-train with ESPnet's own options: ``--config``, ``--print_config``, ..."""

from __future__ import annotations

from collections.abc import Sequence

from espnet_a2m.errors import main_guard


def get_parser():
    """ESPnet's parser with the options of masked speech modelling."""
    from espnet_a2m.task import A2MTask

    return A2MTask.get_parser()


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Train, or collect statistics with ``--collect_stats true``."""
    from espnet_a2m.streams import check_streams
    from espnet_a2m.task import A2MTask

    args = A2MTask.get_parser().parse_args(cmd)
    for paths in (
        args.train_data_path_and_name_and_type,
        args.valid_data_path_and_name_and_type,
    ):
        check_streams(paths)
    A2MTask.main(args=args)


if __name__ == "__main__":
    main()
