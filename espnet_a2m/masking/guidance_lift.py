"""Guidance lift: how much more often masks hold what the scorer is surest of.

P(mask) of the most confident quarter of an utterance's frames over P(mask) of its least
confident quarter: 1 of uniform masks, above 1 where guidance works. It is a ratio of
sums over many masks: the mean of the ratios of small batches is too large, because now
and then few frames of the least confident quarter are masked.
"""

from __future__ import annotations

import torch
from torch import Tensor

from espnet_a2m.core.frames import padding_mask


def masked_by_confidence(
    mask: Tensor, confidence: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Masked frames in the least and in the most confident quarter of each utterance.

    The host does not wait for the device. An utterance shorter than 4 frames has no
    quarters.

    Args:
        mask: (B, T) True where masked, or how often; 0 beyond the lengths.
        confidence: (B, T) frame confidences; equal ones come in any order.
        lengths: (B,) numbers of frames.

    Returns two sums (0-dim) over the utterances, of equally many frames.
    """
    size, lengths = mask.size(1), lengths[:, None]
    beyond = padding_mask(lengths[:, 0], size)
    ranked = mask.gather(1, confidence.masked_fill(beyond, torch.inf).argsort(1))
    place, quarter = torch.arange(size, device=mask.device), lengths // 4
    most = (place >= lengths - quarter) & (place < lengths)
    return (ranked * (place < quarter)).sum(), (ranked * most).sum()
