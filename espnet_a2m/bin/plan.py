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
import warnings
from collections.abc import Iterator, Sequence

from espnet_a2m.bin import import_quietly
from espnet_a2m.errors import UserError, main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    from espnet_a2m.plan import GPUS, UTILISATION

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--config", required=True, help="Of a pre-training or a recogniser")
    option("--hours", type=float, required=True, help="Audio in the training set")
    option("--ngpu", type=int, default=8, help="GPUs of all machines together [8]")
    option("--gpu", choices=GPUS, default="a100", help="[a100]")
    option(
        "--utilisation",
        type=float,
        default=UTILISATION,
        help="Share of the GPU's peak that is reached, an assumption "
        f"[{UTILISATION}]; measure yours",
    )
    option("--updates", type=int, help="In place of the configuration's max_epoch")
    option(
        "--seconds",
        type=float,
        help="Length of an utterance [pre-training: crop_duration; recogniser: 12.3, "
        "the mean of LibriSpeech]",
    )
    option("--nbpe", type=int, default=1024, help="Vocabulary of a recogniser [1024]")
    option(
        "--tokens_per_second",
        type=float,
        default=4.0,
        help="Of a recogniser's transcripts [4: LibriSpeech has 2.7 words a second, "
        "taken as 1.5 pieces each]",
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


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Print the plan."""
    args = get_parser().parse_args(cmd)
    from espnet_a2m.plan import Resources, default_seconds, plan

    given = Resources(args.hours, args.gpu, args.ngpu, args.utilisation, args.updates)
    for option, least in (("seconds", 1), ("nbpe", 4), ("tokens_per_second", 0)):
        value = getattr(args, option)
        if value is not None and not value >= least:
            raise UserError(f"--{option} {value}: must be at least {least}")
    with quietly():
        import_quietly("espnet2.tasks.asr")
        from espnet_a2m.step_count import count_step, load_args

        config = load_args(args.config, args.nbpe)
        seconds = args.seconds or default_seconds(config)
        count = count_step(config, seconds, args.tokens_per_second)
    figures = plan(config, count, seconds, given)
    if args.json:
        print(json.dumps([dataclasses.asdict(x) for x in figures], indent=2))
        return
    for x in figures:
        value = f"{x.value:,.0f}" if x.value >= 1000 else f"{x.value:.3g}"
        print(f"{x.name:<31}{value:>9} {x.unit:<8} {x.basis}")


if __name__ == "__main__":
    main()
