"""Why ESPnet's encoder computes no model of transformers: docs/finetuning.md."""

from __future__ import annotations

import pytest
import soundfile
import torch
from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
from espnet2.asr.frontend.cnn import CNNFrontend
from transformers import Wav2Vec2Config, Wav2Vec2Model

pytestmark = pytest.mark.espnet

CHANNELS = 32
#: Parts of names: ESPnet's, and what transformers calls them
NAMES = {
    "embed.0.convs.0.": "pos_conv_embed.conv.",
    "embed.1.": "layer_norm.",
    "after_norm.": "layer_norm.",
    "encoders.": "layers.",
    "self_attn.linear_out.": "attention.out_proj.",
    "self_attn.linear_": "attention.",
    "feed_forward.w_1.": "feed_forward.intermediate_dense.",
    "feed_forward.w_2.": "feed_forward.output_dense.",
    "norm1.": "layer_norm.",
    "norm2.": "final_layer_norm.",
}


def translate(key: str) -> str:
    """A parameter of ESPnet's encoder by the name that transformers gives it."""
    for ours, theirs in NAMES.items():
        key = key.replace(ours, theirs)
    for letter in "qkv":
        key = key.replace(f"attention.{letter}.", f"attention.{letter}_proj.")
    return key


@pytest.mark.parametrize("large", [False, True])
def test_three_changes_are_missing(large, short_utterances):
    """The CNN is the same; the encoder would be, with all three."""
    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=[CHANNELS] * 7,
        do_stable_layer_norm=large,
        feat_extract_norm="layer" if large else "group",
        conv_bias=large,
    )
    torch.manual_seed(0)
    theirs = Wav2Vec2Model(config).eval()
    shapes = [(CHANNELS, *x) for x in zip(config.conv_kernel, config.conv_stride)]
    norm = "layer_norm" if large else "group_norm"
    cnn = CNNFrontend(norm, "standard", large, shapes, normalize_output=True).eval()
    projection = theirs.feature_projection
    state = theirs.feature_extractor.state_dict()
    state = {key.replace("conv_layers.", "layers."): x for key, x in state.items()}
    norm_state = projection.layer_norm.state_dict()
    cnn.load_state_dict(state | {f"final_norm.{k}": x for k, x in norm_state.items()})
    encoder = TransformerEncoder(
        *(64, 64, 4, 128, 2),
        input_layer="wav2vec",
        pos_enc_layer_type="conv",
        normalize_before=large,
        use_flash_attn=False,
    ).eval()
    state = theirs.encoder.state_dict()
    encoder.load_state_dict({k: state[translate(k)] for k in encoder.state_dict()})

    speech, _ = soundfile.read(short_utterances[0][1], dtype="float32")
    batch, lengths = torch.from_numpy(speech)[None], torch.tensor([len(speech)])

    @torch.inference_mode()
    def difference() -> float:
        features, frames = cnn(batch, lengths)
        normalised = projection.layer_norm(
            theirs.feature_extractor(batch).transpose(1, 2)
        )
        torch.testing.assert_close(features, normalised, rtol=0, atol=1e-5)
        output = encoder(projection.projection(features), frames)[0]
        return float((output - theirs(batch).last_hidden_state).abs().max())

    assert difference() > 1
    encoder.embed[0].use_residual = True
    assert difference() > 1e-2
    for layer in encoder.encoders:
        layer.feed_forward.activation = torch.nn.GELU()
    assert difference() > 1e-2
    encoder.embed[1] = torch.nn.Identity() if large else theirs.encoder.layer_norm
    assert difference() < 1e-4
