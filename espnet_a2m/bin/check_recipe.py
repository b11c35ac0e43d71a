"""Check the configurations of a recipe's stages before the first one starts.

Takes the driver's options, of those stages only that are to run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.config import ConfigError
from espnet_a2m.core.errors import main_guard

#: Option -> task
STAGES = {"scorer": "asr", "ssl": "ssl", "asr": "asr", "inference": "decode"}


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, task in STAGES.items():
        parser.add_argument(f"--{name}_config", help=f"Configuration of {task}")
        parser.add_argument(f"--{name}_args", default="", help="Options beside it")
    parser.add_argument(
        "--pretrained", help="config.yaml of a model that is pre-trained already"
    )
    parser.add_argument("--fs", type=int, help="Sampling rate of the audio in Hz")
    parser.add_argument("--label_tag", default="")
    parser.add_argument(
        "--num_clusters", type=int, help="Of labels that are still to be written"
    )
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Say nothing, or what is wrong; warn where a scorer's error rates would be."""
    args = get_parser().parse_args(cmd)
    import_quietly("espnet2.tasks.asr")
    from espnet_a2m.training import validate_recipe as check

    options = {}
    for name, task in STAGES.items():
        if config := getattr(args, f"{name}_config"):
            words = getattr(args, f"{name}_args")
            options[name] = check.read_options(config, task, words, f"{name}_args")
            if task != "decode" and args.fs:
                check.check_rate(options[name], args.fs)
    ssl, asr = options.get("ssl"), options.get("asr")
    if ssl:
        check.check_labels(ssl, args.label_tag, args.num_clusters)
    elif args.pretrained:
        ssl = check.read_saved(args.pretrained, "ssl")
    if ssl and asr:
        check.check_same_encoder(ssl, asr)
    if "ssl" in options:
        check.check_model(options["ssl"])
    for name in ("asr", "scorer"):
        if name not in options or "inference" not in options:
            continue
        if problem := check.find_nonsense(options[name], options["inference"]):
            if name == "asr":
                raise ConfigError(problem)
            print(f"WARNING: {problem} or --eval_scorer false", file=sys.stderr)


if __name__ == "__main__":
    main()
