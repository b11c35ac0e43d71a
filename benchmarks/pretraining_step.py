"""A whole pre-training step: forward, backward and Adam, from waveforms.

Everybody has the same convolutions on the waveform (512 channels, 7 layers, group
norm, a frame every 20 ms), the same projection, convolutional positions, layers and
width, and masks 49 % of the frames. Ours has the contrastive loss where it stands
beside wav2vec 2.0, and k-means labels where it stands beside HuBERT; guided masks in
both. A second model of ours is the paper's: log-mel and 4x subsampling by convolutions.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import peers
from benchmarks.audio import FS, noise
from benchmarks.masks import COVERAGE, SPAN, START_PROB, smooth_confidence
from benchmarks.report import Row
from benchmarks.timing import interleave

DIM, HEADS, FEEDFORWARD, LAYERS = 256, 4, 1024, 4
NUM_CLASSES, NUM_NEGATIVES = 500, 100
DROPOUT = 0.1
CNN = [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
CONFIDENCE_STRIDE = 640
Step = Callable[[], object]

#: Two instances of one model differ by so much: "no slower" cannot be told closer.
NO_SLOWER = 0.98
#: peer -> ours, and the targets with the CNN and with log-mel
TARGETS = {
    "transformers": ("wav2vec 2.0", 1.0, 5.0),
    "torchaudio": ("HuBERT", 1.0, 5.0),
    "espnet": ("HuBERT", NO_SLOWER, 5.0),
}


def espnet_encoder(frontend: str, dim: int = DIM) -> dict[str, Any]:
    """Front end and encoder in ESPnet's options; those of its own HuBERT recipe."""
    encoder = {
        "output_size": dim,
        "attention_heads": HEADS,
        "linear_units": 4 * dim,
        "num_blocks": LAYERS,
        "dropout_rate": DROPOUT,
        "attention_dropout_rate": DROPOUT,
    }
    if frontend == "logmel":
        return {
            "frontend": "default",
            "frontend_conf": {"fs": FS, "win_length": 400, "hop_length": 160},
            "normalize": "utterance_mvn",
            "normalize_conf": {},
            "encoder": "transformer",
            "encoder_conf": {**encoder, "input_layer": "conv2d"},
        }
    return {
        "frontend": "wav2vec_cnn",
        "frontend_conf": {
            "norm_mode": "group_norm",
            "conv_mode": "standard",
            "bias": False,
            "shapes": CNN,
        },
        "normalize": None,
        "preencoder": "linear",
        "preencoder_conf": {"output_size": dim},
        "encoder": "transformer",
        "encoder_conf": {
            **encoder,
            "positional_dropout_rate": 0.0,
            "input_layer": "wav2vec",
            "pos_enc_layer_type": "conv",
            "normalize_before": False,
        },
    }


def num_frames(samples: int) -> int:
    """Frames that leave the CNN."""
    for _, kernel, stride in CNN:
        samples = (samples - kernel) // stride + 1
    return samples


def step_of(model: torch.nn.Module, loss_of: Callable[[], torch.Tensor]) -> Step:
    """One update of ``model`` by the loss that ``loss_of`` computes."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

    return step


def ours(
    speech: torch.Tensor,
    objective: str,
    frontend: str = "cnn",
    guidance: str = "high",
    autocast: torch.dtype | None = None,
    dim: int = DIM,
) -> Step:
    """This package: ``objective`` is "wav2vec 2.0" or "HuBERT"."""
    from espnet_a2m.training.task import A2MTask

    if objective == "HuBERT":
        conf = {"layer": LAYERS, "num_classes": NUM_CLASSES, "final_dim": DIM}
        losses = [{"name": "hubert", "conf": conf}]
    else:
        conf = {"layer": LAYERS, "num_negatives": NUM_NEGATIVES, "final_dim": DIM}
        losses = [{"name": "contrastive", "conf": conf}]
    args = A2MTask.get_default_config()
    args |= espnet_encoder(frontend, dim)
    args |= {
        "model_conf": {},
        "masking_conf": {
            "mask_prob": COVERAGE,
            "mask_length": SPAN,
            "guidance": guidance,
        },
        "quantizer_conf": {"num_codebooks": 2, "codebook_size": 320},
        "loss": losses,
        "confidence_grid": {"fs": FS, "offset": 480.0, "stride": CONFIDENCE_STRIDE},
    }
    if objective == "HuBERT":
        args["label_grid"] = {"fs": FS, "offset": 199.5, "stride": 320}
    torch.manual_seed(1)
    model = A2MTask.build_model(argparse.Namespace(**args)).to(speech.device)
    batch, samples = speech.shape
    scored = samples // CONFIDENCE_STRIDE - 1
    confidence = smooth_confidence(batch, scored, np.random.default_rng(1))
    streams = {
        "speech": speech,
        "speech_lengths": torch.full((batch,), samples),
        "confidence": torch.from_numpy(confidence).float(),
        "confidence_lengths": torch.full((batch,), scored),
    }
    if objective == "HuBERT":
        streams["labels"] = random_labels(speech)
        streams["labels_lengths"] = torch.full((batch,), streams["labels"].size(1))
    streams = {name: stream.to(speech.device) for name, stream in streams.items()}

    def loss_of() -> torch.Tensor:
        with torch.autocast(speech.device.type, autocast, enabled=autocast is not None):
            return model(**streams)[0]

    return step_of(model, loss_of)


def random_labels(speech: torch.Tensor) -> torch.Tensor:
    """(B, T) classes at the CNN's frames."""
    return torch.randint(NUM_CLASSES, (len(speech), num_frames(speech.size(1))))


def espnet(speech: torch.Tensor) -> Step:
    """ESPnet's HuBERT."""
    from espnet2.tasks.ssl import SSLTask

    args = SSLTask.get_default_config()
    args |= espnet_encoder("cnn")
    loss = {"num_classes": NUM_CLASSES, "final_dim": DIM}
    mask = {"mask_prob": START_PROB, "mask_length": SPAN}
    args |= {
        "input_size": None,
        "token_list": [str(i) for i in range(NUM_CLASSES)],
        "loss": [{"name": "hubert", "conf": loss}],
        "util": [{"name": "mask", "conf": mask}],
    }
    model = SSLTask.build_model(argparse.Namespace(**args))
    labels = random_labels(speech)
    lengths = torch.full((len(speech),), speech.size(1))
    label_lengths = torch.full((len(speech),), labels.size(1))
    return step_of(model, lambda: model(speech, lengths, labels, label_lengths)[0])


def torchaudio(speech: torch.Tensor) -> Step:
    """torchaudio's HuBERT with the loss of its recipe."""
    from torchaudio.models import hubert_pretrain_model

    model = hubert_pretrain_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=CNN,
        extractor_conv_bias=False,
        encoder_embed_dim=DIM,
        encoder_projection_dropout=DROPOUT,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=16,
        encoder_num_layers=LAYERS,
        encoder_num_heads=HEADS,
        encoder_attention_dropout=DROPOUT,
        encoder_ff_interm_features=FEEDFORWARD,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=DROPOUT,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        mask_prob=START_PROB,
        mask_selection="static",
        mask_other=0.0,
        mask_length=SPAN,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=SPAN,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=False,
        num_classes=NUM_CLASSES,
        final_dim=DIM,
        feature_grad_mult=0.1,
    )
    labels = random_labels(speech)
    lengths = torch.full((len(speech),), speech.size(1))

    def loss_of() -> torch.Tensor:
        logit_m, _, feature_penalty = model(speech, labels, lengths)
        target = torch.zeros(len(logit_m), dtype=torch.long)
        loss = F.cross_entropy(logit_m, target, reduction="sum")
        return loss + 10.0 * feature_penalty * len(logit_m)

    return step_of(model, loss_of)


def transformers(speech: torch.Tensor) -> Step:
    """transformers' wav2vec 2.0; its data collator draws masks and negatives."""
    module = peers.transformers_wav2vec2()
    config = module.Wav2Vec2Config(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEEDFORWARD,
        hidden_dropout=DROPOUT,
        attention_dropout=DROPOUT,
        activation_dropout=0.0,
        layerdrop=0.0,
        num_negatives=NUM_NEGATIVES,
    )
    model = module.Wav2Vec2ForPreTraining(config)
    shape = (len(speech), num_frames(speech.size(1)))

    def loss_of() -> torch.Tensor:
        mask = module._compute_mask_indices(shape, START_PROB, SPAN, min_masks=2)
        negatives = module._sample_negative_indices(shape, NUM_NEGATIVES, mask)
        return model(
            speech,
            mask_time_indices=torch.from_numpy(mask),
            sampled_negative_indices=torch.from_numpy(negatives),
        ).loss

    return step_of(model, loss_of)


def measure(batch: int = 4, seconds: float = 10.0, rounds: int = 6) -> list[Row]:
    """The rows of this group: ``batch`` utterances of ``seconds`` each."""
    speech = noise(batch, seconds)
    at = f"{LAYERS} layers, d {DIM}, {batch * seconds:g} s of audio"
    makers = {"torchaudio": torchaudio, "espnet": espnet}
    if peers.has_transformers():
        makers["transformers"] = transformers
    rows = []
    for peer, make in makers.items():
        objective, *targets = TARGETS[peer]
        runs = {
            "the same CNN": ours(speech, objective),
            peer: make(speech),
            "log-mel, 4x subsampling": ours(speech, objective, "logmel"),
        }
        samples = interleave(runs, rounds)
        theirs = samples.pop(peer)
        rows += [
            Row.compare(
                f"pre-training step, {objective}, {front_end}", at, peer, own, theirs, x
            )
            for (front_end, own), x in zip(samples.items(), targets)
        ]
    return rows


def measure_guidance(
    batch: int = 4, seconds: float = 10.0, rounds: int = 25
) -> list[Row]:
    """Guided against uniform masks in the step that has the least other work.

    One per cent of that step is less than two of them differ by. So the difference is
    taken from a narrow model, whose masks are the same work, and added to the step.
    """
    speech = noise(batch, seconds)
    full = interleave({"step": ours(speech, "HuBERT", "logmel", "uniform")}, 5)["step"]
    runs = {x: ours(speech, "HuBERT", "logmel", x, dim=16) for x in ("high", "uniform")}
    narrow = interleave(runs, rounds)
    step = statistics.median(full)
    guided = [step + a - b for a, b in zip(narrow["high"], narrow["uniform"])]
    return [
        Row.compare(
            "guided step, HuBERT, log-mel",
            f"{LAYERS} layers, d {DIM}, {batch * seconds:g} s of audio",
            "uniform masks",
            guided,
            [step] * rounds,
            1.01,
            at_most=True,
        )
    ]
