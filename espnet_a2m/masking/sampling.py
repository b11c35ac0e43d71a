"""From priorities of starts to masks: eq. 3 (section III-B) for a whole batch at once.

Drawing starts one after the other without replacement, start ``t`` with probability
``w_t / sum of the weights not yet drawn``, is sorting them by ``log(u_t) / w_t``
(Efraimidis and Spirakis 2006). A frame is masked as soon as the best of the starts
whose spans hold it has been drawn. So the frames, ranked by the best key of these
starts, are masked in the order of sequential drawing, and the first so many of them
are the mask: no loop over draws or utterances, and nothing that the host waits for.

Shapes: B utterances, T frames of the padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.masking.schedule import Scalar

#: Smallest weight: frames without confidence are drawn last, not never.
EPS = 1e-30


def num_frames_to_mask(lengths: torch.Tensor, mask_prob: Scalar) -> torch.Tensor:
    """(B,) numbers of frames to mask: ``mask_prob`` of each length, rounded."""
    return (lengths * mask_prob + 0.5).long()


def num_spans(
    lengths: torch.Tensor, mask_prob: Scalar, mask_length: int
) -> torch.Tensor:
    """(B,) numbers of spans by fairseq's convention.

    ``floor(mask_prob * length / mask_length + u)``, ``u`` in [0, 1) drawn for every
    utterance, so that the mean is not rounded.
    """
    u = torch.rand(lengths.shape, device=lengths.device)
    return (lengths * mask_prob / mask_length + u).long()


def num_valid_starts(lengths: torch.Tensor, mask_length: int) -> torch.Tensor:
    """(B,) numbers of frames where a span of ``mask_length`` frames may start.

    An utterance that is shorter than a span has one start, its first frame.
    """
    return (lengths - mask_length + 1).clamp(min=1).minimum(lengths)


def sampling_keys(
    weights: torch.Tensor, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Random keys; starts by decreasing key are drawn by eq. 3.

    Args:
        weights: (B, T) not negative, to which the probabilities are proportional.
        generator: Source of randomness on the device of ``weights``.

    Returns:
        (B, T) keys.
    """
    # u < 1; log(0) = -inf is a start that is drawn last, and hurts nothing
    u = torch.rand(weights.shape, generator=generator, device=weights.device)
    return u.log_().div_(weights.clamp(min=EPS))


def log_sampling_keys(log_weights: torch.Tensor) -> torch.Tensor:
    """As `sampling_keys`, of the logarithms (B, T) of weights of any size.

    ``-log(-log(u) / w)`` has the order of ``log(u) / w``.
    """
    u = torch.rand(log_weights.shape, device=log_weights.device)
    return log_weights - u.log_().neg_().log_()


def mask_invalid_starts(
    priorities: torch.Tensor, num_starts: torch.Tensor
) -> torch.Tensor:
    """``priorities`` (B, T), -inf but for the first ``num_starts`` (B,) of each row."""
    invalid = padding_mask(num_starts, priorities.size(1))
    return priorities.masked_fill(invalid, -torch.inf)


def sliding_max(priorities: torch.Tensor, mask_length: int) -> torch.Tensor:
    """(B, T) largest priority of the starts whose spans hold each frame.

    These are the frame itself and the ``mask_length - 1`` before it.
    """
    padded = F.pad(priorities, (mask_length - 1, 0), value=-torch.inf)
    return F.max_pool1d(padded[:, None], mask_length, stride=1)[:, 0]


def spans_to_mask(
    starts: torch.Tensor, mask_length: int, lengths: torch.Tensor
) -> torch.Tensor:
    """(B, T) frames of the spans at ``starts`` (B, T), inside ``lengths`` (B,)."""
    priorities = torch.zeros(starts.shape, device=starts.device)
    priorities = priorities.masked_fill_(~starts, -torch.inf)
    masked = sliding_max(priorities, mask_length) == 0
    return masked & ~padding_mask(lengths, starts.size(1))


def topk_mask(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B, T) True at the ``counts`` (B,) largest of each row of ``values`` (B, T).

    Of equal values the first are taken: of the span that reaches the wanted number
    of frames, those that are still wanted.
    """
    # torch sorts the indices too and is many times slower on a CPU
    ranked = (
        torch.from_numpy(np.sort(values.numpy(), axis=1))
        if values.device.type == "cpu"
        else values.sort(dim=1).values
    )
    num_frames = values.size(1)
    place = (num_frames - counts[:, None]).clamp(max=num_frames - 1)
    threshold = ranked.gather(1, place)
    num_above = num_frames - torch.searchsorted(ranked, threshold, right=True)
    tied = values == threshold
    wanted = (counts[:, None] - num_above).int()  # as the sum: twice as fast
    return (values > threshold) | (tied & (tied.cumsum(1, dtype=torch.int32) <= wanted))


def take_in_order(
    orders: Sequence[tuple[torch.Tensor, Scalar]],
    counts: torch.Tensor,
    taken: torch.Tensor | None = None,
) -> torch.Tensor:
    """Take frames (or starts) in one order, then the rest in the next.

    Args:
        orders: Priorities (B, T), the largest come first, and the share of ``counts``
            that is to be reached with them; the last share is 1.
        counts: (B,) numbers of frames in the end.
        taken: (B, T) frames that are taken already and count.

    Returns:
        (B, T) True where taken: ``counts``, or as many as were taken already.
    """
    for priorities, share in orders:
        wanted = num_frames_to_mask(counts, share)
        if taken is not None:
            priorities = priorities.masked_fill(taken, torch.inf)
            wanted = torch.maximum(wanted, taken.sum(1))
        taken = topk_mask(priorities, wanted)
    assert taken is not None
    return taken


def span_mask(
    lengths: torch.Tensor,
    max_length: int,
    mask_prob: Scalar,
    mask_length: int,
    confidence: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw span starts by eq. 3 until exactly ``mask_prob`` of the frames are masked.

    Each start masks ``mask_length`` frames; spans may overlap, and the last is cut
    short where it would pass the wanted number of frames.

    Args:
        lengths: (B,) numbers of frames; 0 masks nothing.
        max_length: T.
        mask_prob: Share of masked frames of every utterance, in [0, 1].
        mask_length: Frames in a span.
        confidence: (B, T) frame confidences in [0, 1]; None draws uniformly.
        generator: Source of randomness on the device of ``lengths``.

    Returns:
        (B, T) boolean, True where masked; never beyond ``lengths``.
    """
    if confidence is None:
        confidence = torch.ones(len(lengths), max_length, device=lengths.device)
    priorities = sampling_keys(confidence, generator)
    starts = num_valid_starts(lengths, mask_length)
    priorities = mask_invalid_starts(priorities, starts)
    counts = num_frames_to_mask(lengths, mask_prob)
    return topk_mask(sliding_max(priorities, mask_length), counts)
