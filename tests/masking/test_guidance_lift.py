"""Masked frames by confidence against a loop over utterances."""

from __future__ import annotations

import pytest
import torch

from espnet_a2m.masking.guidance_lift import masked_by_confidence
from espnet_a2m.masking.guided import GuidedMasking

pytestmark = pytest.mark.unit

LENGTHS = torch.tensor([250, 97, 40, 5, 3, 0])


@pytest.fixture
def confidence() -> torch.Tensor:
    """(B, T), NaN in the padding."""
    torch.manual_seed(0)
    confidence = torch.rand(len(LENGTHS), 250)
    padding = torch.arange(250) >= LENGTHS[:, None]
    return confidence.masked_fill(padding, torch.nan)


def test_quarters_are_those_of_each_utterance(confidence):
    masking = GuidedMasking(1)
    mask = masking.draw(LENGTHS, 250, confidence.nan_to_num(), torch.tensor(0))
    least = most = 0
    for row, frames, length in zip(mask, confidence, LENGTHS.tolist(), strict=True):
        order = frames[:length].argsort()
        least += int(row[order[: length // 4]].sum())
        most += int(row[order[length - length // 4 :]].sum())
    got = masked_by_confidence(mask, confidence, LENGTHS)
    assert [int(x) for x in got] == [least, most] and least > 10


def test_utterances_without_quarters_count_nothing(confidence):
    mask = torch.ones(len(LENGTHS), 3, dtype=torch.bool)
    lengths = LENGTHS.clamp(max=3)
    mask &= torch.arange(3) < lengths[:, None]
    assert masked_by_confidence(mask, confidence[:, :3], lengths) == (0, 0)
