"""Random CTC models, of ESPnet and transformers; batches for them, and posteriors."""

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


def small_wav2vec2(norm="group"):
    """A random Wav2Vec2ForCTC whose posteriors are neither flat nor certain."""
    import transformers

    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=12,
        pad_token_id=3,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[32] * 7,
        conv_bias=norm == "layer",
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    assert config.mask_time_prob > 0  # so that it has a masked_spec_embed
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.weight.data.normal_(std=0.8)
    return model


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
