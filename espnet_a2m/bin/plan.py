"""What a training will need of GPUs, memory, disk and time, before it is started.

  plan --config conf/paper/ssl_w2vbert_l.yaml --hours 60000 --ngpu 32 --gpu h100
  plan --config conf/base/asr_transducer_conformer.yaml --hours 960 --ngpu 8 --gpu a100

Operations and memory are counted on the model itself, without a GPU and in seconds.
Every figure says what it rests on: docs/planning.md.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from espnet_a2m.bin import import_quietly
from espnet_a2m.core.errors import UserError, main_guard

#: The paper's scorer, where the package lies beside its configurations.
SCORER = Path(__file__).parents[2] / "conf" / "paper" / "asr_ctc_conformer_100m.yaml"


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    from espnet_a2m.training.plan_resources import GPUS, UTILISATION

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--config", required=True, help="Of a pre-training or a recogniser")
    option("--hours", type=float, required=True, help="Audio in the training set")
    option("--ngpu", type=int, default=8, help="GPUs of all machines together [8]")
    option("--gpu", default="a100", help=f"{', '.join(GPUS)}, or any other [a100]")
    option(
        "--tflops",
        type=float,
        nargs=2,
        metavar=("HALF", "SINGLE"),
        help="Its dense peaks in 16 bits and in float32, TFLOP/s [the maker's]",
    )
    option("--gpu_memory", type=float, help="Its memory, GB [the maker's]")
    option(
        "--utilisation",
        type=float,
        nargs="+",
        default=UTILISATION,
        help="Share of the GPU's peak that is reached, from and to, an assumption [{} "
        "{}]; one number if it was measured".format(*UTILISATION),
    )
    option("--updates", type=int, help="In place of the configuration's max_epoch")
    option(
        "--seconds",
        type=float,
        help="Length of an utterance [pre-training: crop_duration; recogniser, "
        "or null: 12.3, the mean of LibriSpeech]",
    )
    option(
        "--longest",
        type=float,
        help="Length of the longest, for the memory [pre-training: crop_duration; "
        "recogniser, or null: 32, where recipes cut]",
    )
    option("--nbpe", type=int, default=1024, help="Vocabulary of a recogniser [1024]")
    option(
        "--tokens_per_second",
        type=float,
        default=4.0,
        help="Of a recogniser's transcripts [4: LibriSpeech has 2.7 words a second, "
        "taken as 1.5 pieces each]",
    )
    option(
        "--scorer_config",
        default=str(SCORER),
        help="Scorer of a pre-training ['' for none; "
        "conf/paper/asr_ctc_conformer_100m.yaml]",
    )
    option("--json", action="store_true", help="Print JSON")
    return parser


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what ESPnet and torch say about parts that are not run here."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def check_options(args: argparse.Namespace) -> None:
    """Refuse numbers that make no sense.

    Raises:
        UserError: Names the option.
    """
    for option, least in (
        ("seconds", 1),
        ("longest", 1),
        ("nbpe", 4),
        ("tokens_per_second", 0),
    ):
        value = getattr(args, option)
        if value is not None and not least <= value < math.inf:
            raise UserError(f"--{option} {value}: must be at least {least} and finite")
    if len(args.utilisation) > 2:
        raise UserError("--utilisation: one number, or two: from and to")


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the plan."""
    args = get_parser().parse_args(cmd)
    from espnet_a2m.training.plan import plan
    from espnet_a2m.training.plan_resources import (
        Resources,
        default_longest,
        default_seconds,
    )

    check_options(args)
    given = Resources(
        hours=args.hours,
        gpu=args.gpu,
        ngpu=args.ngpu,
        utilisation=(args.utilisation[0], args.utilisation[-1]),
        updates=args.updates,
        tflops=tuple(args.tflops) if args.tflops else None,
        gpu_memory=args.gpu_memory,
    )
    with quietly():
        import_quietly("espnet2.tasks.asr")
        from espnet_a2m.training.plan_config import load_args
        from espnet_a2m.training.step_count import count_scoring, count_step

        config = load_args(args.config, args.nbpe)
        seconds = args.seconds or default_seconds(config)
        longest = args.longest or max(seconds, default_longest(config))
        if longest < seconds:
            raise UserError(
                f"--longest {longest:g}: must be at least --seconds, {seconds:g}"
            )
        count = count_step(config, seconds, args.tokens_per_second, longest)
        scoring = None
        if config.kind == "ssl" and args.scorer_config:
            scorer = load_args(args.scorer_config, args.nbpe)
            name = Path(args.scorer_config).name
            scoring = name, count_scoring(scorer, seconds)
    figures = plan(config, count, seconds, given, scoring)
    if args.json:
        print(json.dumps([dataclasses.asdict(x) for x in figures], indent=2))
        return
    for x in figures:
        print(x)


if __name__ == "__main__":
    main()
