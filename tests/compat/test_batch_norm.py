"""Batch normalisation of a padded batch is that of its utterances' frames."""

from __future__ import annotations

import copy

import pytest
import torch

from espnet_a2m.compat.batch_norm import normalise_batch, statistics_of_utterances
from espnet_a2m.core.frames import padding_mask

pytestmark = pytest.mark.espnet


def test_padding_is_no_part_of_the_statistics():
    """Output, running statistics and gradients of torch's own, on the frames alone."""
    torch.manual_seed(0)
    lengths = torch.tensor([7, 12, 1])
    inside = ~padding_mask(lengths, 15)
    x = torch.randn(3, 6, 15) * 3 + 1
    ours = torch.nn.BatchNorm1d(6)
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    theirs = copy.deepcopy(ours)
    padded, frames = (x.clone().requires_grad_() for _ in range(2))
    for _ in range(2):
        got = normalise_batch(ours, padded, inside[:, None]).transpose(1, 2)[inside]
        want = theirs(frames.transpose(1, 2)[inside])
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    got.square().sum().backward()
    want.square().sum().backward()
    torch.testing.assert_close(padded.grad, frames.grad, rtol=1e-4, atol=1e-5)
    assert padded.grad.transpose(1, 2)[~inside].abs().max() == 0
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_an_encoder_is_as_it_was_afterwards(training):
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

    encoder = ConformerEncoder(80, 32, 2, 64, 1, rel_pos_type="latest").train(training)
    norm = encoder.encoders[0].conv_module.norm
    before = dict(vars(norm))
    inside = torch.ones(1, 20, 1, dtype=torch.bool)
    with statistics_of_utterances(encoder, inside):
        assert ("forward" in vars(norm)) == training
    assert vars(norm) == before
