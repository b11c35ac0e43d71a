"""Confidences of starts against loops over their frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from espnet_a2m.masking.start_confidence import rank_starts, span_confidence

pytestmark = pytest.mark.unit

LENGTHS = [40, 23, 3, 1, 0]
STATISTICS = {"mean": np.mean, "max": np.max, "first": lambda frames: frames[0]}


@pytest.fixture
def scores() -> torch.Tensor:
    """(B, T) multiples of 1/255 with ties, as files keep them; NaN in the padding."""
    torch.manual_seed(0)
    scores = torch.randint(0, 12, (len(LENGTHS), 40)) / 255
    padding = torch.arange(40) >= torch.tensor(LENGTHS)[:, None]
    return scores.masked_fill(padding, torch.nan)


@pytest.mark.parametrize("span", [1, 2, 10, 50])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_statistic_of_the_frames_inside(scores, statistic, span):
    got = span_confidence(scores, torch.tensor(LENGTHS), span, statistic)
    assert got.shape == (len(LENGTHS), 40 + span - 1)
    for row, values, length in zip(got.numpy(), scores.double().numpy(), LENGTHS):
        for start in range(1 - span, length):
            frames = values[max(start, 0) : min(start + span, length)]
            if len(frames):
                want = STATISTICS[statistic](frames)
                assert row[start + span - 1] == pytest.approx(want, abs=1e-6)


def test_ranks_within_the_utterance(scores):
    ranks = rank_starts(scores, torch.tensor(LENGTHS))
    for row, values, n in zip(ranks.numpy(), scores.numpy(), LENGTHS):
        want = (rankdata(values[:n]) - 0.5) / max(n, 1)
        np.testing.assert_allclose(row[:n], want, atol=1e-6)


def test_equal_confidences_have_equal_ranks():
    """Where frames are missing too, and however large they are."""
    lengths = torch.tensor([700, 5])
    for value in (0.0, -0.0, 1e-30, 1 / 255, 0.3, 0.7, 1.0):
        starts = span_confidence(torch.full((2, 700), value), lengths, 10, "mean")
        ranks = rank_starts(starts, lengths + 9)
        assert (ranks[0] == 0.5).all() and (ranks[1, :14] == 0.5).all()
