"""Score data sets: frame and utterance confidences of an ESPnet scorer."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from espnet_a2m.bin import import_quietly
from espnet_a2m.errors import main_guard


def get_parser() -> argparse.ArgumentParser:
    """The options of this command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--asr_model_file", required=True, help="Checkpoint of an ASR model with CTC"
    )
    parser.add_argument(
        "--asr_train_config",
        help="Its configuration; config.yaml beside it if not given",
    )
    parser.add_argument("--data", required=True, help="Formatted data directory")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument(
        "--measure",
        default="max_prob",
        choices=["max_prob", "entropy", "margin"],
        help="Confidence of a frame: its largest posterior (eq. 2), 1 minus the "
        "normalised entropy, or the largest minus the second largest",
    )
    parser.add_argument(
        "--blank",
        default="include",
        choices=["include", "exclude", "renormalise"],
        help="How the blank enters the measure",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="Divides the log posteriors; above 1 flattens a peaky scorer's",
    )
    parser.add_argument(
        "--batch_seconds",
        type=float,
        help="Audio in a batch, which does not change the confidences; 0 is one "
        "utterance at a time. If not given: 0 on a CPU, where batches are no faster, "
        "120 on a GPU",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="0: CPU, 1: GPU")
    parser.add_argument("--num_threads", type=int, default=1, help="Threads on a CPU")
    return parser


@main_guard
def main(cmd: Sequence[str] | None = None) -> None:
    """Score ``--data`` into ``--output_dir``; a second call goes on."""
    args = get_parser().parse_args(cmd)
    import_quietly("espnet2.tasks.asr")
    import torch

    from espnet_a2m.chunked_table import read_durations
    from espnet_a2m.errors import UserError
    from espnet_a2m.scorer.online import OnlineScorer
    from espnet_a2m.scoring import score_set

    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(args.num_threads)
    options = {
        "measure": args.measure,
        "blank": args.blank,
        "temperature": args.temperature,
    }
    try:
        scorer = OnlineScorer(args.asr_model_file, args.asr_train_config, **options)
    except ValueError as e:
        raise UserError(str(e)) from e
    device = "cuda" if args.ngpu else "cpu"
    batch_seconds = args.batch_seconds
    if batch_seconds is None:
        batch_seconds = 120.0 if args.ngpu else 0.0
    data = Path(args.data)
    score_set(
        wav_scp=data / "wav.scp",
        output_dir=args.output_dir,
        confidences_of=lambda batch: scorer.of_utterances(batch, device),
        grid=scorer.grid,
        scorer={
            "model": str(args.asr_model_file),
            "modified": Path(args.asr_model_file).stat().st_mtime_ns,
            **options,
        },
        durations=read_durations(data, scorer.grid.fs),
        batch_seconds=batch_seconds,
    )
    print(f"confidences: {Path(args.output_dir) / 'confidence.scp'}")


if __name__ == "__main__":
    main()
