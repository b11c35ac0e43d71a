"""Scoring a set, from FLAC files to confidences on disk, over its encoder alone."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
import yaml

from benchmarks.audio import write_data_dir
from benchmarks.report import Row
from benchmarks.timing import interleave

ENCODER = {
    "output_size": 256,
    "attention_heads": 4,
    "linear_units": 1024,
    "input_layer": "conv2d",
    "rel_pos_type": "latest",
    "macaron_style": True,
    "use_cnn_module": True,
    "cnn_module_kernel": 31,
}
WORD_PIECES = 1024  # the paper's


def save_recogniser(root: Path, num_blocks: int) -> Path:
    """A conformer CTC recogniser with random parameters, as ESPnet saves it."""
    from espnet2.tasks.asr import ASRTask

    args = ASRTask.get_default_config()
    args |= {
        "encoder": "conformer",
        "encoder_conf": {**ENCODER, "num_blocks": num_blocks},
        "frontend_conf": {"fs": 16000, "hop_length": 160, "win_length": 400},
        "specaug": None,
        "normalize": "utterance_mvn",
        "decoder": None,
        "model_conf": {"ctc_weight": 1.0},
        "token_type": "bpe",
        "token_list": ["<blank>", "<unk>"]
        + [f"piece{i}" for i in range(WORD_PIECES - 3)]
        + ["<sos/eos>"],
    }
    (root / "config.yaml").write_text(yaml.safe_dump(args))
    model = ASRTask.build_model(argparse.Namespace(**args))
    torch.save(model.state_dict(), root / "model.pth")
    return root / "model.pth"


def measure(
    num_blocks: int = 12, utterances: int = 12, seconds: float = 12.0, rounds: int = 7
) -> list[Row]:
    """The row of this group."""
    from espnet_a2m.confidence.espnet import ESPnetScorer
    from espnet_a2m.confidence.score_set import score_set

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        scorer = ESPnetScorer(str(save_recogniser(root, num_blocks)))
        write_data_dir(root, utterances, seconds)
        runs_done = iter(range(10**9))

        def score() -> None:
            output = root / f"scored{next(runs_done)}"
            score_set(root, output, scorer, {})

        model = scorer.model
        feats, lengths = model.frontend(
            torch.zeros(1, int(seconds * 16000)), torch.tensor([int(seconds * 16000)])
        )

        @torch.no_grad()
        def encoder_alone() -> None:
            for _ in range(utterances):
                model.encoder(feats, lengths)

        samples = interleave({"ours": score, "encoder": encoder_alone}, rounds)
    return [
        Row.compare(
            "scoring a set, FLAC to ark",
            f"{num_blocks} layers, d 256, {utterances} x {seconds:g} s",
            "its encoder's forward alone",
            samples["ours"],
            samples["encoder"],
            1.15,
            at_most=True,
        )
    ]
