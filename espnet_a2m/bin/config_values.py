"""Print values of configurations for the recipes' shell.

  config_values --keys normalize decoder -- conf/asr.yaml conf/ssl.yaml

A line is `<value> <file>:<key>`; the value is "none" where there is no such module.
A file that does not exist has the default values: the stage that needs it complains.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import main_guard

#: Of ESPnet's ASR task and of ours, where it is not "none"
DEFAULTS = {"normalize": "utterance_mvn"}


def module_name(value: Any) -> str:
    """The name of a module as ESPnet's command line reads it; "none" for no module."""
    name = "".join(str(value).split()).lower()
    return "none" if name in ("", "none", "null", "nil") else name


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print a line for each file and key."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", nargs="+", required=True, help="Keys, in this order")
    parser.add_argument("config", nargs="+", help="YAML files, as given to --config")
    args = parser.parse_args(cmd)
    for path in args.config:
        config = load_config(path) if Path(path).exists() else {}
        for key in args.keys:
            value = module_name(config.get(key, DEFAULTS.get(key)))
            print(f"{value} {path}:{key}")


if __name__ == "__main__":
    main()
