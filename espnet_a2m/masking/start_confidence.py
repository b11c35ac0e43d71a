"""How confident the scorer is of the frames that a span would mask.

Eq. 3 weighs a start by the confidence of its own frame, which is the first 40 ms of a
span of 400 ms. Here a start is weighed by all the frames that it would mask, and by its
rank within the utterance, so that how much is guided does not depend on the scorer.

Shapes: B utterances, T frames, M frames in a span, S possible starts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.masking.sampling import sort_rows

#: Confidence of a start: of the frames that it would mask, or of its own frame.
SPAN_CONFIDENCE = ("mean", "max", "first")


def span_confidence(
    confidence: Tensor, lengths: Tensor, mask_length: int, statistic: str
) -> Tensor:
    """Confidence of each start, from the frames inside the utterance.

    Args:
        confidence: (B, T) in [0, 1]; anything beyond ``lengths``.
        lengths: (B,) numbers of frames.
        mask_length: M.
        statistic: ``mean`` or ``max`` of the frames that the span would mask, or
            ``first``: of the first of them (eq. 3).

    Returns:
        (B, T + M - 1) float32: column c is the start at frame c - (M - 1).
    """
    overhang, num_frames = mask_length - 1, confidence.size(1)
    if statistic == "first":
        padded = F.pad(confidence[:, None], (overhang, 0), mode="replicate")
        return padded[:, 0]
    confidence = confidence.masked_fill(padding_mask(lengths, num_frames), 0.0)
    if statistic == "max":
        padded = F.pad(confidence[:, None], (overhang, overhang))
        return F.max_pool1d(padded, mask_length, stride=1)[:, 0]
    # in float64, so that equal confidences have equal means
    total = F.pad(confidence.double(), (mask_length, overhang)).cumsum(1)
    total = total[:, mask_length:] - total[:, :-mask_length]
    start = torch.arange(-overhang, num_frames, device=confidence.device)
    end = torch.minimum(start + mask_length, lengths[:, None])
    count = (end - start.clamp(min=0)).clamp(min=1)
    return (total / count).float().clamp(0.0, 1.0)


def rank_starts(confidence: Tensor, num_starts: Tensor) -> Tensor:
    """Replace confidences by (rank - 0.5) / n, in (0, 1), within the utterance.

    Ranks grow with the confidence; equal confidences have their mean rank.

    Args:
        confidence: (B, S) float32, not negative.
        num_starts: (B,) n, the utterance's possible starts; they come first, and
            anything beyond them in the result.
    """
    size = confidence.size(1)
    place = torch.arange(size + 1, device=confidence.device)
    beyond = padding_mask(num_starts, size)
    # The bits of numbers that are not negative have their order. With the place below
    # them, sorting one array sorts places by confidence (+ 0.0: -0.0 becomes 0.0).
    bits = (confidence.masked_fill(beyond, torch.inf) + 0.0).view(torch.int32).long()
    ordered = sort_rows((bits << 32) | place[:-1])
    order, bits = ordered & 0xFFFFFFFF, ordered >> 32
    is_new = F.pad(bits[:, 1:] != bits[:, :-1], (1, 1), value=True)
    # ranks first + 1 ... last of equal confidences: mean rank - 0.5 is their middle
    places = place.float().expand_as(is_new)
    first = places.masked_fill(~is_new, 0.0).cummax(1).values[:, :-1]
    last = places.masked_fill(~is_new, size).flip(1).cummin(1).values.flip(1)[:, 1:]
    rank = (first + last) / (2 * num_starts[:, None].clamp(min=1))
    return torch.empty_like(rank).scatter_(1, order, rank)
