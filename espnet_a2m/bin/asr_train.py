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
    from espnet_a2m.training.asr_task import A2MASRTask

    A2MASRTask.main(cmd=cmd)


if __name__ == "__main__":
    main()
