"""ESPnet's ``asr_train`` with a trainer that resumes: scorer and fine-tuning.

The same options, models and files as ``espnet2.bin.asr_train``, which can resume its
runs and decode with its models. Further options are --save_interval_updates and
--monitor_conf.
"""

from __future__ import annotations

from collections.abc import Sequence

from espnet_a2m.core.errors import main_guard


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Train, or collect statistics with ``--collect_stats true``."""
    from espnet_a2m.data.streams import check_rate
    from espnet_a2m.training.asr_task import A2MASRTask
    from espnet_a2m.training.task import sampling_rate

    args = A2MASRTask.get_parser().parse_args(cmd)
    if args.frontend == "default" and not args.multiple_iterator:
        check_rate(args.train_data_path_and_name_and_type, sampling_rate(args))
        check_rate(args.valid_data_path_and_name_and_type, sampling_rate(args))
    A2MASRTask.main(args=args)


if __name__ == "__main__":
    main()
