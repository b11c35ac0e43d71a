"""A random ESPnet CTC model, batches for it, and its posteriors of one utterance."""

from __future__ import annotations

import argparse

import torch
import yaml
from torch.nn.utils.rnn import pad_sequence


def write_scorer(directory, encoder="conformer", input_layer="conv2d", **conf):
    """A random ESPnet CTC model whose posteriors are neither flat nor certain.

    `encoder_conf`, where given, is all that the encoder gets.
    """
    from espnet2.tasks.asr import ASRTask

    torch.manual_seed(0)
    normalize = conf.pop("normalize", "utterance_mvn")
    normalize_conf = conf.pop("normalize_conf", {"norm_vars": True})
    frontend_conf = {"win_length": 400, "hop_length": 160}
    frontend_conf.update(conf.pop("frontend_conf", {}))
    complete_conf = conf.pop("encoder_conf", None)
    encoder_conf = {"output_size": 32, "attention_heads": 2, "num_blocks": 2}
    if encoder != "branchformer":
        encoder_conf["linear_units"] = 64
    encoder_conf.update(input_layer=input_layer, **conf)
    if complete_conf is not None:
        encoder_conf = complete_conf
    config = directory / "config.yaml"
    options = ASRTask.get_default_config() | {
        "token_list": ["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"],
        "encoder": encoder,
        "encoder_conf": encoder_conf,
        "frontend_conf": frontend_conf,
        "normalize": normalize,
        "normalize_conf": normalize_conf,
        "model_conf": {"ctc_weight": 1.0, "report_cer": False, "report_wer": False},
    }
    config.write_text(yaml.safe_dump(options))
    model = ASRTask.build_model(argparse.Namespace(**options))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # or padded frames would often be 0 by themselves
            torch.nn.init.uniform_(parameter, -0.5, 0.5)
    model.ctc.ctc_lo.weight.data.mul_(4)
    torch.save(model.state_dict(), directory / "model.pth")
    return directory / "model.pth"


def batch_of(speech):
    """Padded with noise, beyond the longest as well: padding must not be heard."""
    lengths = torch.tensor([len(s) for s in speech])
    padded = pad_sequence([torch.from_numpy(s) for s in speech], batch_first=True)
    padded = torch.nn.functional.pad(padded, (0, 5000))
    outside = torch.arange(padded.size(1)) >= lengths[:, None]
    noise = torch.randn(padded.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(outside, noise, padded), lengths


@torch.no_grad()
def alone(model, speech):
    """(T, V) posteriors of ESPnet's own forward for one utterance."""
    speech = torch.from_numpy(speech.copy())[None]
    encoded, _ = model.encode(speech, torch.tensor([speech.size(1)]))
    if isinstance(encoded, tuple):
        encoded = encoded[0]
    return model.ctc.softmax(encoded)[0]
