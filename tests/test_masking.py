"""Guided masking against exact enumeration of eq. 3, and its edge cases."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from espnet_a2m.masking import GuidedMasking
from espnet_a2m.span_sampling import span_mask, target_counts


def sequential_masks(scores, span, target):
    """Exact distribution of masks when eq. 3 is drawn start by start.

    Draw a start among those not yet drawn with probability s_t / sum of theirs,
    mask its span from its first frame on until ``target`` frames are masked.
    """
    starts = range(len(scores) - span + 1)
    distribution: Counter = Counter()

    def draw(drawn, masked, probability):
        left = [t for t in starts if t not in drawn]
        total = sum(scores[t] for t in left)
        for t in left:
            now = set(masked)
            for frame in range(t, t + span):
                if len(now) < target:
                    now.add(frame)
            p = probability * scores[t] / total
            if len(now) == target:
                distribution[frozenset(now)] += p
            else:
                draw(drawn | {t}, now, p)

    draw(frozenset(), frozenset(), 1.0)
    return distribution


@pytest.mark.parametrize(
    ("scores", "span", "mask_prob"),
    [
        ([0.9, 0.1, 0.5, 0.3, 0.8, 0.2], 2, 0.5),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3, 0.7),  # uniform
        ([0.05, 0.9, 0.9, 0.05, 0.4, 0.6, 0.2], 3, 0.6),
        ([0.9, 0.2, 0.7, 0.4, 0.6], 1, 0.4),  # single frames
    ],
)
def test_starts_follow_eq_3(scores, span, mask_prob):
    draws = 100_000
    frames = len(scores)
    target = int(target_counts(torch.tensor(frames), mask_prob))
    exact = sequential_masks(scores, span, target)
    mask = span_mask(
        torch.full((draws,), frames),
        frames,
        mask_prob,
        span,
        torch.tensor(scores).expand(draws, -1),
        torch.Generator().manual_seed(1),
    )
    seen = Counter(frozenset(row.nonzero().flatten().tolist()) for row in mask)
    assert set(seen) <= set(exact)
    masks = sorted(exact, key=sorted)
    result = chisquare([seen[m] for m in masks], [exact[m] * draws for m in masks])
    assert result.pvalue > 1e-3


def test_uniform_scores_are_the_baseline():
    """Guidance by a constant is no guidance, to the bit."""
    lengths = torch.tensor([200, 120, 7])
    masks = [
        span_mask(lengths, 200, 0.4, 10, scores, torch.Generator().manual_seed(3))
        for scores in (None, torch.ones(3, 200))
    ]
    assert torch.equal(*masks)
    masking = GuidedMasking(4, guidance="uniform")
    scores = torch.rand(3, 200)
    drawn = []
    for confidence in (scores, None):
        torch.manual_seed(3)
        drawn.append(masking.draw(lengths, 200, confidence, torch.tensor(0)))
    assert torch.equal(*drawn)


def test_high_prefers_confident_frames():
    scores = torch.full((64, 400), 0.1)
    scores[:, 100:200] = 0.9
    lengths = torch.full((64,), 400)
    generator = torch.Generator().manual_seed(0)
    high = span_mask(lengths, 400, 0.2, 10, scores, generator)
    uniform = span_mask(lengths, 400, 0.2, 10, None, generator)
    share = [m[:, 100:200].sum() / m.sum() for m in (high, uniform)]
    assert share[0] > 0.6 > 0.35 > share[1]


@settings(max_examples=300, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=1, max_size=6),
    mask_prob=st.floats(0.01, 0.99),
    mask_length=st.integers(1, 25),
    zeros=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_row_is_masked_exactly(lengths, mask_prob, mask_length, zeros, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = max(1, *lengths) + seed % 3  # sometimes more padding than needed
    scores = torch.rand(len(lengths), frames, generator=generator)
    if zeros:
        scores[:, ::2] = 0.0
    lens = torch.tensor(lengths)
    mask = span_mask(lens, frames, mask_prob, mask_length, scores, generator)
    assert mask.sum(1).tolist() == target_counts(lens, mask_prob).tolist()
    assert not mask[torch.arange(frames) >= lens[:, None]].any()


def test_last_frames_are_masked_too():
    mask = span_mask(torch.full((2000,), 30), 30, 0.4, 10)
    assert mask[:, -1].any() and mask[:, 0].any()


@pytest.mark.parametrize(
    "conf", [{"mask_prob": 0.0}, {"mask_length": 0}, {"guidance": "hihg"}]
)
def test_bad_options(conf):
    with pytest.raises(ValueError, match=next(iter(conf))):
        GuidedMasking(4, **conf)
