"""Losses against plain transcriptions of the published formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from espnet_a2m.losses.contrastive import (
    ContrastiveLoss,
    contrastive_logits,
    sample_negatives,
)
from espnet_a2m.losses.masked_prediction import MaskedPredictionLoss
from espnet_a2m.losses.quantizer import GumbelQuantizer, standardise
from espnet_a2m.losses.reduction import MaskedFrames, reduce

COUNTS = torch.tensor([9, 5, 1, 0])


@pytest.fixture
def setup():
    torch.manual_seed(0)
    quantizer = GumbelQuantizer(16, num_codebooks=2, codebook_size=5, codebook_dim=8)
    features = torch.randn(4, 9, 16, requires_grad=True)
    valid = torch.arange(9) < COUNTS[:, None]
    return quantizer, features, valid


def test_packing_keeps_time_order():
    mask = torch.tensor([[0, 1, 1, 0, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
    frames = MaskedFrames.pack(mask, 3)
    assert frames.index[0].tolist() == [1, 2, 4]
    assert frames.valid.tolist() == [[True] * 3, [True, False, False]]
    sequence = torch.arange(10.0).view(2, 5, 1)
    assert frames.take(sequence)[frames.valid].flatten().tolist() == [1, 2, 4, 5]


def test_negatives_are_other_masked_frames():
    torch.manual_seed(0)
    negatives = sample_negatives(COUNTS, 9, 500)
    for row, count in enumerate(COUNTS.tolist()):
        for frame in range(count):
            want = set(range(count)) - {frame} or {0}
            assert set(negatives[row, frame].tolist()) == want


def test_contrastive_equals_fairseq_formula(setup):
    """fairseq: cosine of x with [target, negatives], / temperature, -inf where a
    negative is the target; cross-entropy with the target at 0, summed."""
    quantizer, features, valid = setup
    loss = ContrastiveLoss(16, quantizer, layer=1, num_negatives=7, final_dim=8)
    codes = quantizer(features, valid)
    hidden = torch.randn(4, 9, 16)

    torch.manual_seed(5)
    term = loss(hidden, codes, valid)
    ours = term.frame_loss.sum()
    ours_grad = torch.autograd.grad(ours, features, retain_graph=True)[0]

    torch.manual_seed(5)
    negatives = sample_negatives(COUNTS, 9, 7)
    x, y = loss.project_hidden(hidden), loss.project_code(codes.vectors)
    theirs = torch.zeros(())
    for row, count in enumerate(COUNTS.tolist()):
        for frame in range(count):
            target, others = y[row, frame], y[row, negatives[row, frame]]
            logits = F.cosine_similarity(
                x[row, frame], torch.cat([target[None], others]), dim=-1
            )
            logits = logits / 0.1
            same = (others == target).all(-1)
            logits = torch.cat([logits[:1], logits[1:].masked_fill(same, -torch.inf)])
            theirs = theirs + F.cross_entropy(logits[None], torch.zeros(1).long())
    theirs_grad = torch.autograd.grad(theirs, features)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours_grad, theirs_grad, rtol=1e-4, atol=1e-6)
    assert term.frame_loss[~valid].eq(0).all()


def test_collapsed_codes_are_not_accurate(setup):
    """With one code for all there is nothing to tell apart: accuracy 0, not 1."""
    quantizer, features, valid = setup
    codes = quantizer(features, valid)
    codes.ids = torch.zeros_like(codes.ids)
    loss = ContrastiveLoss(16, quantizer, layer=1, num_negatives=7, final_dim=8)
    term = loss(torch.randn(4, 9, 16), codes, valid)
    assert term.stats["acc_contrastive"] == 0
    assert term.frame_loss.abs().max() == 0


def test_lone_masked_frame_is_finite(setup):
    quantizer, features, valid = setup
    codes = quantizer(features[2:], valid[2:])
    logits = contrastive_logits(
        torch.randn(2, 9, 8),
        codes,
        codes.vectors,
        sample_negatives(COUNTS[2:], 9, 7),
        0.1,
    )
    assert logits[0, 0, 0].isfinite() and logits[0, 0, 1:].isinf().all()
    loss = ContrastiveLoss(16, quantizer, layer=1, num_negatives=7, final_dim=8)
    term = loss(torch.randn(2, 9, 16), codes, valid[2:])
    term.frame_loss.sum().backward()
    assert term.frame_loss.eq(0).all() and features.grad.isfinite().all()


def test_masked_prediction_equals_cross_entropy(setup):
    quantizer, features, valid = setup
    codes = quantizer(features, valid)
    loss = MaskedPredictionLoss(16, quantizer, layer=1)
    hidden = torch.randn(4, 9, 16)
    term = loss(hidden, codes, valid)
    logits = loss.classify(hidden).view(4, 9, 2, 5)
    want, right = 0.0, 0
    for row, count in enumerate(COUNTS.tolist()):
        for group in range(2):
            ids = codes.ids[row, :count, group]
            want += F.cross_entropy(logits[row, :count, group], ids, reduction="sum")
            right += int((logits[row, :count, group].argmax(-1) == ids).sum())
    torch.testing.assert_close(term.frame_loss.sum(), want)
    assert term.stats["acc_masked_prediction"] * 30 == pytest.approx(right)
    ids = codes.ids[valid]
    majority = sum(np.bincount(ids[:, g]).max() for g in range(2)) / 30
    assert term.stats["majority_share"] == pytest.approx(majority)


def test_diversity_equals_fairseq_formula(setup):
    """fairseq: (G V - sum_g exp H(mean softmax)) / (G V) over the masked frames."""
    quantizer, features, valid = setup
    codes = quantizer(features, valid)
    logits = quantizer.logits(features[valid]).view(-1, 2, 5)
    mean = logits.softmax(-1).mean(0)
    perplexity = (-(mean * (mean + 1e-7).log()).sum(-1)).exp().sum()
    torch.testing.assert_close(
        codes.diversity, (10 - perplexity) / 10, rtol=1e-5, atol=0
    )
    used = [np.bincount(codes.ids[valid][:, g], minlength=5) / 15 for g in range(2)]
    want = sum(np.exp(-sum(p * np.log(p) for p in u if p)) for u in used)
    assert codes.code_perplexity == pytest.approx(want, rel=1e-5)


def test_standardise_ignores_padding():
    features = torch.randn(2, 9, 3) * 5 + 7
    features[1, 4:] = 100.0
    got = standardise(features, torch.tensor([9, 4]))
    for row, length in ((0, 9), (1, 4)):
        want = features[row, :length]
        want = (want - want.mean(0)) / want.std(0, unbiased=False)
        torch.testing.assert_close(got[row, :length], want, rtol=1e-4, atol=1e-4)
    assert standardise(features, torch.tensor([1, 0])).isfinite().all()


def test_diversity_has_a_gradient_where_codes_are_never_chosen(setup):
    quantizer, features, valid = setup
    with torch.no_grad():
        quantizer.logits.weight.mul_(1000)  # probabilities underflow to 0
    quantizer(features, valid).diversity.backward()
    assert features.grad.isfinite().all()
    assert quantizer.logits.weight.grad.isfinite().all()


def test_quantizer_is_straight_through_and_anneals(setup):
    quantizer, features, valid = setup
    codes = quantizer(features, valid)
    chosen = torch.stack(
        [quantizer.codebook[g][codes.ids[..., g]] for g in range(2)], dim=2
    )
    torch.testing.assert_close(codes.vectors, chosen.flatten(2))
    codes.vectors.sum().backward()
    assert features.grad.abs().sum() > 0 and quantizer.codebook.grad.abs().sum() > 0
    assert codes.temperature == 2.0
    quantizer.num_batches += 1000
    assert quantizer.current_temperature() == pytest.approx(
        2 * 0.999995**1000, rel=1e-4
    )
    quantizer.num_batches += 10_000_000
    assert quantizer.current_temperature() == 0.5


def test_reduction_weights_sums_not_the_denominator():
    """Section III-C: sum_u w_u sum_t l_ut / sum_u n_u."""
    frame_loss = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
    count = torch.tensor([2, 1])
    assert reduce(frame_loss, count, torch.ones(2)) == pytest.approx(7 / 3)
    weight = torch.tensor([0.5, 0.25])
    assert reduce(frame_loss, count, weight) == pytest.approx((1.5 + 1.0) / 3)
    assert reduce(frame_loss * 0, count * 0, weight) == 0
