"""Data directories: from a corpus to formatted audio, transcripts and token lists."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

#: Command -> module with its ``main``
COMMANDS = {
    "prepare_corpus": "espnet_a2m.data.prepare_corpus",
    "prepare_recordings": "espnet_a2m.data.recordings.prepare",
    "check_data_dir": "espnet_a2m.data.formatting.check_data_dir",
    "combine_data": "espnet_a2m.data.formatting.combine_data",
    "perturb_speed": "espnet_a2m.data.formatting.perturb_speed",
    "format_wav": "espnet_a2m.data.formatting.format_wav",
    "filter_lengths": "espnet_a2m.data.formatting.filter_lengths",
    "token_list": "espnet_a2m.data.formatting.token_list",
    "subsample_hours": "espnet_a2m.data.formatting.subsample_hours",
}


def main(cmd: Sequence[str] | None = None) -> None:
    """Run one of ``COMMANDS`` with the rest of the command line."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    name = words.pop(0) if words else ""
    if name not in COMMANDS:
        usage = "usage: python -m espnet_a2m.bin.data COMMAND [--help]\n\ncommands:\n"
        usage += "".join(f"  {command}\n" for command in COMMANDS)
        if name in ("-h", "--help"):
            print(f"{usage}\n{__doc__}")
            return
        sys.exit(f"{usage}\nERROR: {name!r} is not a command" if name else usage)
    sys.argv[0] = f"python -m espnet_a2m.bin.data {name}"  # in the command's --help
    importlib.import_module(COMMANDS[name]).main(words)


if __name__ == "__main__":
    main()
