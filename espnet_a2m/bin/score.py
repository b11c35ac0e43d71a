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
        "--blank",
        default="include",
        choices=["include", "exclude", "renormalise"],
        help="How the blank enters the maximum of eq. 2",
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

    from espnet_a2m.confidence import frame_confidence
    from espnet_a2m.kaldi_table import read_scp
    from espnet_a2m.scorer.espnet import ESPnetScorer
    from espnet_a2m.scoring import score_set

    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(args.num_threads)
    scorer = ESPnetScorer(
        args.asr_model_file, args.asr_train_config, "cuda" if args.ngpu else "cpu"
    )

    def confidence_of(speech):
        log_probs = scorer.log_probs(speech)
        return frame_confidence(log_probs, args.blank, scorer.blank_id).cpu().numpy()

    data = Path(args.data)
    durations = data / "utt2num_samples"
    score_set(
        wav_scp=data / "wav.scp",
        output_dir=args.output_dir,
        confidence_of=confidence_of,
        grid=scorer.grid,
        scorer={
            "model": str(args.asr_model_file),
            "modified": Path(args.asr_model_file).stat().st_mtime_ns,
            "blank": args.blank,
        },
        durations=read_scp(durations) if durations.exists() else None,
    )
    print(f"confidences: {Path(args.output_dir) / 'confidence.scp'}")


if __name__ == "__main__":
    main()
