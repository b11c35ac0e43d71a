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


def check(cmd: Sequence[str] | None = None) -> None:
    """Say what pre-training takes over, and where a scorer's error rates are wrong.

    Raises:
        ConfigError: What is wrong with a stage that is to run.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    for name, task in STAGES.items():
        add(f"--{name}_config", help=f"Configuration of {task}")
        add(f"--{name}_args", default="", help="Options beside it")
    add("--ssl_init", help="Pre-trained model that pre-training continues from")
    add("--pretrained", help="config.yaml of a model that is pre-trained already")
    add("--fs", type=int, help="Sampling rate of the audio in Hz")
    add("--label_tag", default="")
    add("--num_clusters", type=int, help="Of labels that are still to be written")
    args = parser.parse_args(cmd)
    import_quietly("espnet2.tasks.asr")
    from espnet_a2m.training import validate_recipe as check
    from espnet_a2m.training.continue_from import find_start

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
    if "ssl" in options and args.ssl_init:
        print(find_start(args.ssl_init, options["ssl"]).summary)
    elif "ssl" in options:
        check.check_model(options["ssl"])
    for name in ("asr", "scorer"):
        if name not in options or "inference" not in options:
            continue
        if problem := check.find_nonsense(options[name], options["inference"]):
            if name == "asr":
                raise ConfigError(problem)
            print(f"WARNING: {problem} or --eval_scorer false", file=sys.stderr)


main = main_guard(check)


if __name__ == "__main__":
    main()
