"""Score data sets: how confident a scorer is of every frame and utterance.

  score --asr_model_file exp/asr/valid.loss.ave.pth --data dump/raw/train \
      --output_dir confidence/train
  score --scorer hf --scorer_conf model=facebook/wav2vec2-base-960h --measure margin ...
  score --scorer ctm --scorer_conf file=train.ctm ...
  score --scorer energy --scorer_conf range_db=40 ...
  score --scorer my_package.my_module:MyScorer --scorer_conf option=value ...

A large set is divided between jobs, which may run at the same time and anywhere; each
resumes when it is started again. The last command merges their tables:

  score --nj 8 --job 1 ...    (and so on, to --job 8)
  score --nj 8 ...

docs/scorers.md has all options of each, and shows how to write your own.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.bin import import_quietly
from espnet_a2m.bin.jobs import add_job_options, job_command, parse_shard
from espnet_a2m.core.errors import main_guard

#: Options of the scorer that this command has, too
SHORT = {
    *("model_file", "config_file", "trust_checkpoint"),
    *("measure", "blank", "temperature"),
}


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    from espnet2.utils.nested_dict_action import NestedDictAction
    from espnet2.utils.types import str2bool

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--data", required=True, help="Formatted data directory")
    option("--output_dir", required=True)
    names = "espnet, hf, ctm, energy, or package.module:Class of your own [espnet]"
    option("--scorer", default="espnet", help=names)
    conf = "Options of the scorer, key=value; may be repeated"
    option("--scorer_conf", action=NestedDictAction, default={}, help=conf)
    batch = "Audio in a batch, which changes no confidence; 0 is one utterance at a "
    batch += "time [0 on a CPU, where batches are no faster, 120 on a GPU]"
    option("--batch_seconds", type=float, help=batch)
    option("--ngpu", type=int, default=0, help="0: CPU, 1: GPU [0]")
    add_job_options(option)
    option("--num_threads", type=int, default=1, help="Threads on a CPU [1]")

    title = "short for --scorer_conf"
    group = parser.add_argument_group(title, argument_default=argparse.SUPPRESS)
    option = group.add_argument
    model = "model_file of espnet: a checkpoint with CTC"
    option("--asr_model_file", dest="model_file", help=model)
    config = "config_file of espnet [config.yaml beside it]"
    option("--asr_train_config", dest="config_file", help=config)
    trust = "Of espnet: read a checkpoint that can run programs [false]"
    option("--trust_checkpoint", type=str2bool, help=trust)
    measure = "Of espnet, hf: confidence of a frame: its largest posterior (eq. 2), 1 "
    measure += "minus the normalised entropy, the largest minus the second, 1 minus "
    measure += "the blank's [max_prob]"
    choices = ["max_prob", "entropy", "margin", "nonblank"]
    option("--measure", choices=choices, help=measure)
    blank = "Of espnet, hf: how the blank enters the measure of a frame; include is "
    blank += "eq. 2 read literally [exclude]"
    option("--blank", choices=["include", "exclude", "renormalise"], help=blank)
    temperature = "Of espnet, hf: divides the log posteriors; above 1 flattens a peaky "
    temperature += "scorer's [1]"
    option("--temperature", type=float, help=temperature)
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Score ``--data`` into ``--output_dir``; a second call resumes."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    args = get_parser().parse_args(words)
    from espnet_a2m.data.shards import CONFIDENCES, ShardedSet

    shard = parse_shard(args)
    data, output = Path(args.data), Path(args.output_dir)
    short = {name: value for name, value in vars(args).items() if name in SHORT}
    conf = {**args.scorer_conf, **short}
    metadata = {"scorer": args.scorer, "conf": conf}
    if shard is None:
        scores = ShardedSet(data, output, CONFIDENCES, metadata)
        scores.merge_shards(args.nj, job_command("score", words))
    else:
        if args.scorer == "espnet":
            import_quietly("espnet2.tasks.asr")
        import torch

        from espnet_a2m.confidence.registry import build_scorer
        from espnet_a2m.confidence.score_set import score_set

        logging.basicConfig(level=logging.WARNING)
        torch.set_num_threads(args.num_threads)
        scorer = build_scorer(args.scorer, conf, f"scorer {args.scorer}")
        batch_seconds = args.batch_seconds
        if batch_seconds is None:
            batch_seconds = 120.0 if args.ngpu else 0.0
        device = "cuda" if args.ngpu else "cpu"
        score_set(data, output, scorer, metadata, batch_seconds, device, shard)
    if args.job is None:
        print(f"confidences: {output / 'confidence.scp'}")
    else:
        print(f"job {args.job} of {args.nj} is done: {output}")


if __name__ == "__main__":
    main()
