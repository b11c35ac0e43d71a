"""Losses against plain transcriptions of the published formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.contrastive import (
    ContrastiveLoss,
    contrastive_logits,
    sample_negatives,
)
from espnet_a2m.losses.masked_frames import MaskedFrames
from espnet_a2m.losses.masked_prediction import MaskedPredictionLoss
from espnet_a2m.losses.objective import MaskedBatch
from espnet_a2m.losses.quantizer import Codes, GumbelQuantizer, standardise
from espnet_a2m.losses.reduction import LossTerm, reduce
from espnet_a2m.losses.utterance_weight import UtteranceWeight, shuffle

pytestmark = pytest.mark.unit

COUNTS = torch.tensor([9, 5, 1, 0])
START = torch.zeros((), dtype=torch.long)  # no updates so far


def batch_of(codes: Codes, valid: torch.Tensor) -> MaskedBatch:
    """A batch whose packed masked frames are ``valid``."""
    index = torch.arange(valid.size(1)).expand_as(valid)
    count = valid.sum(1)
    feats = torch.zeros(len(valid), 1, 1)
    return MaskedBatch(MaskedFrames(index, valid), count, feats, count, codes)


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
    codes = quantizer(features, valid, START)
    hidden = torch.randn(4, 9, 16)

    torch.manual_seed(5)
    term = loss(hidden, batch_of(codes, valid))
    ours = term.sums.sum()
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
    assert term.sums[3] == 0 and term.counts.tolist() == COUNTS.tolist()


def test_collapsed_codes_are_not_accurate(setup):
    """With one code for all there is nothing to tell apart: accuracy 0, not 1."""
    quantizer, features, valid = setup
    codes = quantizer(features, valid, START)
    codes.ids = torch.zeros_like(codes.ids)
    loss = ContrastiveLoss(16, quantizer, layer=1, num_negatives=7, final_dim=8)
    term = loss(torch.randn(4, 9, 16), batch_of(codes, valid))
    assert term.stats["acc"] == 0
    assert term.sums.abs().max() == 0


def test_lone_masked_frame_is_finite(setup):
    quantizer, features, valid = setup
    codes = quantizer(features[2:], valid[2:], START)
    logits = contrastive_logits(
        torch.randn(2, 9, 8),
        codes,
        codes.vectors,
        sample_negatives(COUNTS[2:], 9, 7),
        0.1,
    )
    assert logits[0, 0, 0].isfinite() and logits[0, 0, 1:].isinf().all()
    loss = ContrastiveLoss(16, quantizer, layer=1, num_negatives=7, final_dim=8)
    term = loss(torch.randn(2, 9, 16), batch_of(codes, valid[2:]))
    term.sums.sum().backward()
    assert term.sums.eq(0).all()
    assert quantizer.codebook.grad.isfinite().all()


def test_masked_prediction_equals_cross_entropy(setup):
    quantizer, features, valid = setup
    codes = quantizer(features, valid, START)
    loss = MaskedPredictionLoss(16, quantizer, layer=1)
    hidden = torch.randn(4, 9, 16)
    term = loss(hidden, batch_of(codes, valid))
    logits = loss.classify(hidden).view(4, 9, 2, 5)
    want, right = 0.0, 0
    for row, count in enumerate(COUNTS.tolist()):
        for group in range(2):
            ids = codes.ids[row, :count, group]
            want += F.cross_entropy(logits[row, :count, group], ids, reduction="sum")
            right += int((logits[row, :count, group].argmax(-1) == ids).sum())
    torch.testing.assert_close(term.sums.sum(), want)
    assert term.stats["acc"] * 30 == pytest.approx(right)
    # before the first batch all codes are as likely
    gained = 2 * np.log(5) - float(want) / 15
    assert term.stats["nats_gained"] == pytest.approx(gained, abs=1e-5)
    term = loss(hidden, batch_of(codes, valid))
    used = [np.bincount(codes.ids[valid][:, g], minlength=5) for g in range(2)]
    majority = sum(counts.max() for counts in used) / 30
    assert term.stats["majority"] == pytest.approx(majority)
    probs = [(counts + 0.2) / 16 for counts in used]
    blind = -sum((c * np.log(p)).sum() for c, p in zip(used, probs, strict=True)) / 15
    gained = blind - float(want) / 15
    assert term.stats["nats_gained"] == pytest.approx(gained, abs=1e-5)
    term = loss.eval()(hidden, batch_of(codes, valid))
    assert term.stats["cross_entropy"] == pytest.approx(float(want) / 15)


def test_diversity_equals_fairseq_formula(setup):
    """fairseq: (G V - sum_g exp H(mean softmax)) / (G V) over the masked frames."""
    quantizer, features, valid = setup
    codes = quantizer(features, valid, START)
    logits = quantizer.logits(features[valid]).view(-1, 2, 5)
    mean = logits.softmax(-1).mean(0)
    perplexity = (-(mean * (mean + 1e-7).log()).sum(-1)).exp().sum()
    torch.testing.assert_close(
        codes.diversity, (10 - perplexity) / 10, rtol=1e-5, atol=0
    )


def test_usage_of_many_codes_is_not_that_of_one_batch():
    """Batches of 250 frames of 256 equally likely codes look like 144 codes each."""
    torch.manual_seed(0)
    usage = CodeUsage(1, 256)
    valid = torch.ones(1, 250, dtype=torch.bool)
    alone = []
    for _ in range(300):
        ids = torch.randint(256, (1, 250, 1))
        counts = np.bincount(ids.flatten(), minlength=256) / 250
        alone.append(np.exp(-sum(p * np.log(p) for p in counts if p)))
        usage.update(ids, valid)
    assert np.mean(alone) < 150
    assert 250 < usage.perplexity < 256
    ids = torch.randint(256, (1, 9999, 1))
    nats, majority = usage.blind_guess(ids, torch.ones(1, 9999).bool())
    assert nats == pytest.approx(np.log(256), abs=0.02) and majority < 0.01
    before = usage.counts.clone()
    usage.eval()
    for classes in (7, 2):  # a validation has counts of its own
        ids = torch.randint(classes, (1, 250, 1))
        usage.update(ids, valid)
        usage.update(ids, valid)
        counts = np.bincount(ids.flatten()) / 250
        entropy = -sum(p * np.log(p) for p in counts)
        assert usage.end_validation() == pytest.approx(entropy)
    assert usage.counts.equal(before)


def test_usage_loads_checkpoints_that_have_none():
    usage = CodeUsage(2, 3)
    usage.update(torch.zeros(1, 4, 2, dtype=torch.long), torch.ones(1, 4).bool())
    usage.load_state_dict({})
    assert usage.counts[0, 0] == 4
    usage.load_state_dict({"counts": torch.ones(2, 3)})
    assert usage.counts.eq(1).all()


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
    quantizer(features, valid, START).diversity.backward()
    assert features.grad.isfinite().all()
    assert quantizer.logits.weight.grad.isfinite().all()


def test_quantizer_is_straight_through_and_anneals(setup):
    quantizer, features, valid = setup
    codes = quantizer(features, valid, START)
    chosen = torch.stack(
        [quantizer.codebook[g][codes.ids[..., g]] for g in range(2)], dim=2
    )
    torch.testing.assert_close(codes.vectors, chosen.flatten(2))
    codes.vectors.sum().backward()
    assert features.grad.abs().sum() > 0 and quantizer.codebook.grad.abs().sum() > 0
    assert codes.temperature == 2.0
    assert quantizer.temperature_at(START + 1000) == pytest.approx(
        2 * 0.999995**1000, rel=1e-4
    )
    assert quantizer.temperature_at(START + 10_000_000) == 0.5


def test_input_of_the_quantizer_is_an_option():
    features = torch.randn(2, 9, 16, requires_grad=True)
    lengths = torch.tensor([9, 5])
    ours = GumbelQuantizer(16).prepare(features, lengths)
    assert not ours.requires_grad
    torch.testing.assert_close(ours, standardise(features.detach(), lengths))
    published = GumbelQuantizer(16, standardise_input=False, input_grad=True)
    assert published.prepare(features, lengths) is features


def test_reduction_weights_sums_not_the_denominator():
    """Section III-C: sum_u w_u sum_t l_ut / sum_u n_u."""
    term = LossTerm(torch.tensor([3.0, 4.0]), torch.tensor([2, 1]))
    assert reduce(term) == pytest.approx(7 / 3)
    weight = torch.tensor([0.5, 0.25])
    assert reduce(term, weight) == pytest.approx((1.5 + 1.0) / 3)
    assert reduce(LossTerm(torch.zeros(2), torch.zeros(2, dtype=torch.long))) == 0


# --- ATM+S ----------------------------------------------------------------------

CONFIDENCE = torch.tensor([[0.9, 0.7, 0.8, 0.6], [0.2, 0.4, 0.0, 0.0]])
LENGTHS = torch.tensor([4, 2])
MASK = torch.tensor([[True, False, True, False], [False, True, False, False]])


@pytest.mark.parametrize(
    ("options", "want"),
    [
        (("none",), None),
        (("confidence",), [0.75, 0.3]),
        (("relative",), [0.75 / 0.525, 0.3 / 0.525]),
        (("confidence", 1.0, "masked"), [0.85, 0.4]),
    ],
)
def test_utterance_weights(options, want):
    weight = UtteranceWeight(*options)(CONFIDENCE, LENGTHS, MASK)
    assert weight is want or weight.tolist() == pytest.approx(want)


def test_the_scorers_own_utterance_confidence():
    """In place of the mean of all frames, not of the masked ones."""
    s_u = torch.tensor([0.2, 0.6])
    weight = UtteranceWeight("relative")(CONFIDENCE, LENGTHS, MASK, s_u)
    assert weight.tolist() == pytest.approx([0.5, 1.5])
    masked = UtteranceWeight("confidence", 1.0, "masked")
    assert masked(CONFIDENCE, LENGTHS, MASK, s_u).tolist() == pytest.approx([0.85, 0.4])


def test_weights_are_shuffled_among_the_utterances_that_have_frames():
    absent = torch.tensor([True, False, True, False, True, True])
    values = torch.arange(6.0)
    many = torch.stack([shuffle(values, ~absent) for _ in range(200)])
    assert (many[:, absent] == values[absent]).all()  # no frames: nobody's
    assert set(many[:, 1].tolist()) == {1.0, 3.0}
    assert (many[:, [1, 3]].sum(1) == 4.0).all()


def test_a_random_fraction_of_utterances_is_weighted():
    torch.manual_seed(0)
    many = [x.repeat_interleave(5000, 0) for x in (CONFIDENCE, LENGTHS, MASK)]
    weight = UtteranceWeight("confidence", 0.1)(*many)
    for first, s_u in ((0, 0.75), (5000, 0.3)):
        part = weight[first : first + 5000]
        weighted = (part - s_u).abs() < 1e-6
        assert (weighted | (part == 1)).all()
        # binomial: 500 of 5000, standard deviation 21
        assert abs(int(weighted.sum()) - 500) < 85


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("s_u",), "none, confidence, relative"),
        (("confidence", 0.0), "utterance_weight_fraction"),
        (("confidence", 1.0, "some"), "utterance_weight_frames"),
    ],
)
def test_bad_utterance_weights(options, message):
    with pytest.raises(ValueError, match=message):
        UtteranceWeight(*options)
