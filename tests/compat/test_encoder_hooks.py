"""The mask is applied where the encoder adds positions, in any encoder."""

from __future__ import annotations

import itertools

import pytest
import torch

from espnet_a2m.compat.encoder_hooks import (
    capture_layers,
    input_convs,
    positional_encoding,
)
from espnet_a2m.core.frames import conv_lengths

pytestmark = pytest.mark.espnet

SMALL = dict(output_size=32, attention_heads=2, num_blocks=2)


def encoders():
    from espnet2.asr.encoder.branchformer_encoder import BranchformerEncoder
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.e_branchformer_encoder import EBranchformerEncoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

    return {
        "conformer": (ConformerEncoder, {"rel_pos_type": "latest"}),
        "transformer": (TransformerEncoder, {}),
        "branchformer": (BranchformerEncoder, {}),
        "e_branchformer": (EBranchformerEncoder, {"rel_pos_type": "latest"}),
        # wav2vec 2.0's positions
        "conv_positions": (TransformerEncoder, {"pos_enc_layer_type": "conv"}),
    }


def build(name, input_layer):
    cls, conf = encoders()[name]
    torch.manual_seed(0)
    return cls(input_size=80, input_layer=input_layer, **SMALL, **conf).eval()


@pytest.mark.parametrize("input_layer", ["linear", "conv2d", "conv2d6", "conv2d8"])
@pytest.mark.parametrize(
    "name", ["conformer", "transformer", "branchformer", "e_branchformer"]
)
def test_masked_input_hides_the_audio_and_keeps_positions(name, input_layer):
    encoder = build(name, input_layer)
    lengths = torch.tensor([200, 120])
    seen = []

    def mask_everything(features):
        seen.append(features)
        return torch.zeros_like(features) + 0.1

    outputs = []
    for _ in range(2):
        x = torch.randn(2, 200, 80)
        captured = capture_layers(encoder, x, lengths, [1, 2], mask_everything)
        outputs.append(captured.output)
        assert [captured.layers[i].shape for i in (1, 2)] == [outputs[-1].shape] * 2
        assert captured.embedded is seen[-1]
    # nothing of the audio is left, but the frames still know where they are
    torch.testing.assert_close(outputs[0], outputs[1])
    assert outputs[0][0].std(0).max() > 1e-4
    # the features are those after subsampling, and the lengths are known ahead
    expected = conv_lengths(lengths, input_convs(encoder))
    assert seen[0].shape == (2, int(expected[0]), 32)
    # afterwards the encoder is as it was
    output = encoder(x, lengths)[0]
    assert len(seen) == 2 and list(captured.layers) == [1, 2]
    unmasked = capture_layers(encoder, x, lengths, [2]).output
    # the longest has no padding, which ESPnet would let the other's frames see
    torch.testing.assert_close(output[0], unmasked[0], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "input_layer"),
    [
        *itertools.product(
            ["conformer", "transformer", "branchformer", "e_branchformer"],
            ["linear", "conv2d", "conv2d6", "conv2d8"],
        ),
        ("conv_positions", "linear"),
    ],
)
def test_layers_do_not_see_the_padding(name, input_layer):
    """The frames of an utterance are those that it has alone, to its last one."""
    encoder = build(name, input_layer)
    for parameter in encoder.parameters():
        if parameter.dim() == 1:  # or padding would often be 0 by itself
            torch.nn.init.normal_(parameter, std=0.3)
    features = torch.randn(2, 203, 80)
    for length in range(117, 125):  # whatever the subsampling leaves over
        lengths = torch.tensor([203, length])
        alone = capture_layers(encoder, features[1:, :length], lengths[1:], [1])
        batch = capture_layers(encoder, features, lengths, [1])
        num_frames = alone.output.size(1)
        for want, got in (
            (alone.output, batch.output),
            *zip(alone.layers.values(), batch.layers.values(), strict=True),
        ):
            torch.testing.assert_close(want[0], got[1, :num_frames], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["transformer", "branchformer"])
def test_encoder_without_positions_is_refused(name):
    with pytest.raises(ValueError, match="input_layer"):
        positional_encoding(build(name, None))
