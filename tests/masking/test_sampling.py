"""Spans against exact enumeration of eq. 3 and the field's own drawing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from espnet_a2m.masking.guided import GuidedMasking
from espnet_a2m.masking.sampling import num_frames_to_mask, span_mask

pytestmark = pytest.mark.unit

NOW = torch.tensor(0)
SCORES = [0.9, 0.1, 0.5, 0.3, 0.8, 0.2]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def sequential(weights, span, frames, target=None, count=None, taken=frozenset()):
    """Exact distribution of masks when starts are drawn one after the other.

    Draw a start among those not yet drawn with probability w_t / sum of theirs, and
    the ``span`` frames from there; mask them from the first on, until ``target`` frames
    are masked or ``count`` starts drawn. ``weights`` are those of the possible starts.
    """
    distribution: dict[frozenset, float] = {}

    def draw(drawn, masked, probability):
        if len(masked) == target or len(drawn) == count:
            distribution[masked] = distribution.get(masked, 0.0) + probability
            return
        left = [t for t in range(len(weights)) if t not in drawn]
        total = sum(weights[t] for t in left)
        for t in left:
            now = set(masked)
            for frame in range(t, min(t + span, frames)):
                if len(now) != target:
                    now.add(frame)
            draw(drawn | {t}, frozenset(now), probability * weights[t] / total)

    draw(frozenset(), frozenset(taken), 1.0)
    return distribution


def codes_of(mask):
    """A number for each row of a boolean (N, T)."""
    return (mask.long() << torch.arange(mask.size(1))).sum(1).numpy()


def assert_drawn_from(mask, exact):
    """Chi-square of the rows of ``mask`` against ``exact``, a mask's probability."""
    probability = np.zeros(2 ** mask.size(1))
    for frames, p in exact.items():
        probability[sum(2**frame for frame in frames)] = p
    assert probability.sum() == pytest.approx(1.0)
    seen = np.bincount(codes_of(mask), minlength=len(probability))
    assert not seen[probability == 0].any()
    expected = probability * len(mask)
    rare = expected < 5
    seen = np.append(seen[~rare], seen[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    possible = expected > 0
    assert chisquare(seen[possible], expected[possible]).pvalue > 1e-3


def draw_many(scores, draws=60_000, seed=1, **conf):
    """``draws`` masks of one utterance with ``scores``."""
    torch.manual_seed(seed)
    frames = len(scores)
    return GuidedMasking(4, **conf).draw(
        torch.full((draws,), frames),
        frames,
        torch.tensor(scores).expand(draws, -1),
        NOW,
    )


@pytest.mark.parametrize(
    ("scores", "span", "mask_prob"),
    [
        (SCORES, 2, 0.5),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3, 0.7),  # uniform
        ([0.05, 0.9, 0.9, 0.05, 0.4, 0.6, 0.2], 3, 0.6),
        ([0.9, 0.2, 0.7, 0.4, 0.6], 1, 0.4),  # single frames
    ],
)
def test_starts_follow_eq_3(scores, span, mask_prob):
    frames = len(scores)
    target = int(num_frames_to_mask(torch.tensor(frames), mask_prob))
    exact = sequential(scores[: frames - span + 1], span, frames, target)
    mask = draw_many(scores, mask_prob=mask_prob, mask_length=span)
    assert_drawn_from(mask, exact)


@pytest.mark.parametrize(
    ("conf", "weight"),
    [
        ({"guidance": "uniform"}, lambda s: 1.0),
        ({"guidance": "low"}, lambda s: 1 - s),
        ({"power": 2.5}, lambda s: s**2.5),
        ({"power": 0.0}, lambda s: 1.0),
        ({"temperature": 0.3}, lambda s: np.exp(s / 0.3)),
        ({"temperature": 0.2, "power": 2.0}, lambda s: np.exp(s**2 / 0.2)),
        (
            {"temperature": 0.5, "guidance": "low"},
            lambda s: np.exp((1 - s) / 0.5),
        ),
    ],
)
def test_weights_of_the_starts(conf, weight):
    weights = [weight(s) for s in SCORES[:5]]
    mask = draw_many(SCORES, mask_prob=0.5, mask_length=2, **conf)
    assert_drawn_from(mask, sequential(weights, 2, 6, target=3))


def test_number_of_starts_follows_eq_3():
    """0.7 * 6 / 2 = 2.1: two spans, in a tenth of the utterances three."""
    mask = draw_many(SCORES, mask_prob=0.7, mask_length=2, coverage="starts")
    exact: dict[frozenset, float] = {}
    for count, share in ((2, 0.9), (3, 0.1)):
        drawn = sequential(SCORES[:5], 2, 6, count=count)
        for frames, p in drawn.items():
            exact[frames] = exact.get(frames, 0.0) + share * p
    assert_drawn_from(mask, exact)


def test_mixed_goes_on_with_low():
    exact: dict[frozenset, float] = {}
    for high, p in sequential(SCORES[:5], 2, 6, target=1).items():
        low = [1 - s for s in SCORES[:5]]
        for frames, q in sequential(low, 2, 6, target=4, taken=high).items():
            exact[frames] = exact.get(frames, 0.0) + p * q
    conf = {"mask_prob": 0.6, "mask_length": 2, "guidance": "mixed"}
    assert_drawn_from(draw_many(SCORES, high_share=0.25, **conf), exact)
    for share, same in ((0.0, "low"), (1.0, "high")):
        mask = draw_many(SCORES, high_share=share, **conf)
        other = draw_many(SCORES, seed=2, **{**conf, "guidance": same})
        table = [np.bincount(codes_of(m), minlength=64) for m in (mask, other)]
        table = np.stack(table)[:, np.sum(table, axis=0) > 0]
        assert chi2_contingency(table).pvalue > 1e-3


def baseline(lengths, max_length, mask_prob, mask_length, rng):
    """Uniform spans as the field draws them, utterance by utterance."""
    mask = np.zeros((len(lengths), max_length), dtype=bool)
    for row, length in zip(mask, lengths):
        starts = length - mask_length + 1
        count = min(starts, int(mask_prob * length / mask_length + rng.random()))
        for start in rng.choice(starts, count, replace=False):
            row[start : start + mask_length] = True
    return torch.from_numpy(mask)


def test_uniform_starts_are_the_baseline():
    conf = {"mask_prob": 0.65, "guidance": "uniform", "coverage": "starts"}
    rng = np.random.default_rng(0)
    ours = draw_many([0.0] * 8, 10_000, mask_length=3, **conf)
    theirs = baseline([8] * 10_000, 8, 0.65, 3, rng)
    table = np.stack([np.bincount(codes_of(m), minlength=256) for m in (ours, theirs)])
    assert chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-3

    lengths = torch.from_numpy(rng.integers(250, 501, 400))
    ours = GuidedMasking(4, **conf).draw(lengths, 500, None, NOW)
    theirs = baseline(lengths.tolist(), 500, 0.65, 10, rng)
    share = [float((m.sum(1) / lengths).mean()) for m in (ours, theirs)]
    assert share[0] == pytest.approx(share[1], abs=0.01)
    assert 0.46 < share[0] < 0.51  # known as 49 %


def test_constant_scores_are_no_guidance():
    """To the bit, whatever the constant."""
    lengths = torch.tensor([200, 120, 7])
    masks = [
        span_mask(lengths, 200, 0.4, 10, scores, torch.Generator().manual_seed(3))
        for scores in (None, *(torch.full((3, 200), c) for c in (1.0, 0.3, 1e-3)))
    ]
    masking = GuidedMasking(4, guidance="uniform")
    for scores in (None, torch.rand(3, 200)):
        torch.manual_seed(3)
        masks.append(masking.draw(lengths, 200, scores, NOW))
    assert all(torch.equal(mask, masks[0]) for mask in masks)
