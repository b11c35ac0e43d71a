"""Check the keys of ESPnet configurations before training starts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import main_guard
from espnet_a2m.training.validate_config import TASKS, check_config


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print one line for each good file; stop at the first bad one."""
    parser = argparse.ArgumentParser(description=__doc__)
    readers = "espnet_a2m.bin.asr_train, espnet_a2m.bin.ssl_train or "
    readers += "espnet2.bin.asr_inference"
    parser.add_argument(
        "--task", required=True, choices=TASKS, help=f"What will read them: {readers}"
    )
    parser.add_argument("config", nargs="+", help="YAML files, as given to --config")
    args = parser.parse_args(cmd)
    import_quietly("espnet2.tasks.asr")
    for path in args.config:
        check_config(path, args.task)
        print(f"{path}: all keys are known")


if __name__ == "__main__":
    main()
