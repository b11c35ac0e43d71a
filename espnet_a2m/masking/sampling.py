"""From priorities of starts to masks: eq. 3 (section III-B) for a batch at once.

Drawing starts one after the other without replacement, start ``t`` with probability
``w_t / sum of the weights not yet drawn``, is sorting them by ``log(u_t) / w_t``
(Efraimidis and Spirakis 2006). A frame is masked as soon as the best of the starts
whose spans hold it has been drawn. So the frames, ranked by the best key of these
starts, are masked in the order of sequential drawing, and the first so many of them
are the mask: no loop over draws or utterances, and nothing that the host waits for.

A frame of an utterance lies in as many possible spans as any other where spans may
overhang both ends of the utterance: they start from frame -(M - 1) to the last.

Shapes: B utterances, T frames of the padded batch, M frames in a span,
S = T + M - 1 possible starts: column c is the start at frame c - (M - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.masking.schedule import Scalar

#: Smallest weight: frames without confidence are drawn last, not never.
EPS = 1e-30


def num_frames_to_mask(lengths: Tensor, mask_prob: Scalar) -> Tensor:
    """(B,) numbers of frames to mask: ``mask_prob`` of each length, rounded."""
    return (lengths * mask_prob + 0.5).long()


def num_spans(lengths: Tensor, mask_prob: Scalar, mask_length: int) -> Tensor:
    """(B,) numbers of spans by fairseq's convention.

    ``floor(mask_prob * length / mask_length + u)``, ``u`` in [0, 1) drawn for every
    utterance, so that the mean is not rounded. Where spans overhang, ``lengths`` are
    the numbers of possible starts instead: as large a share of each frame's spans.
    """
    u = torch.rand(lengths.shape, device=lengths.device)
    return (lengths * mask_prob / mask_length + u).long()


def num_valid_starts(lengths: Tensor, mask_length: int) -> Tensor:
    """(B,) numbers of frames where a span that ends inside may start.

    An utterance that is shorter than a span has one start, its first frame.
    """
    return (lengths - mask_length + 1).clamp(min=1).minimum(lengths)


def num_overhanging_starts(lengths: Tensor, mask_length: int) -> Tensor:
    """(B,) numbers of starts of spans that hold any frame; 0 without frames."""
    return (lengths + mask_length - 1) * (lengths > 0)


def sampling_keys(weights: Tensor) -> Tensor:
    """(B, S) random keys; starts by decreasing key are drawn by eq. 3.

    Probabilities are proportional to ``weights`` (B, S), which are not negative.
    """
    # u < 1; log(0) = -inf is a start that is drawn last, and hurts nothing
    u = torch.rand(weights.shape, device=weights.device)
    return u.log_().div_(weights.clamp(min=EPS))


def log_sampling_keys(log_weights: Tensor) -> Tensor:
    """As `sampling_keys`, of the logarithms (B, S) of weights of any size.

    ``-log(-log(u) / w)`` has the order of ``log(u) / w``.
    """
    u = torch.rand(log_weights.shape, device=log_weights.device)
    return log_weights - u.log_().neg_().log_()


def keep_first(priorities: Tensor, counts: Tensor) -> Tensor:
    """``priorities`` (B, N), -inf but for the first ``counts`` (B,) of each row."""
    return priorities.masked_fill(padding_mask(counts, priorities.size(1)), -torch.inf)


def add_overhang(priorities: Tensor, mask_length: int) -> Tensor:
    """(B, T) priorities of the starts inside -> (B, S); no span overhangs the start."""
    return F.pad(priorities, (mask_length - 1, 0), value=-torch.inf)


def sliding_max(priorities: Tensor, mask_length: int) -> Tensor:
    """(B, T) largest of the priorities (B, S) of the starts whose spans hold a frame.

    These are the frame itself and the ``mask_length - 1`` before it.
    """
    return F.max_pool1d(priorities[:, None], mask_length, stride=1)[:, 0]


def spans_to_mask(starts: Tensor, mask_length: int, lengths: Tensor) -> Tensor:
    """(B, T) frames of the spans at ``starts`` (B, S), inside ``lengths`` (B,)."""
    priorities = torch.zeros(starts.shape, device=starts.device)
    priorities = priorities.masked_fill_(~starts, -torch.inf)
    masked = sliding_max(priorities, mask_length) == 0
    return masked & ~padding_mask(lengths, masked.size(1))


def sort_rows(values: Tensor) -> Tensor:
    """(B, N) with each row from its smallest value to its largest."""
    if values.device.type == "cpu":
        # torch sorts the indices too and is many times slower on a CPU
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(dim=1).values


def topk_mask(values: Tensor, counts: Tensor, cut_anywhere: bool = False) -> Tensor:
    """(B, N) True at the ``counts`` (B,) largest of each row of ``values`` (B, N).

    Equal values are of the span that reaches the wanted number of frames. Of these the
    first that are still wanted are taken or, with ``cut_anywhere``, as many in a row
    from a random place among them.
    """
    ranked = sort_rows(values)
    size = values.size(1)
    place = (size - counts[:, None]).clamp(max=size - 1)
    threshold = ranked.gather(1, place)
    num_above = size - torch.searchsorted(ranked, threshold, right=True)
    tied = values == threshold
    nth = tied.cumsum(1, dtype=torch.int32)  # of the tied, from 1
    wanted = (counts[:, None] - num_above).int()  # as the sum: twice as fast
    if not cut_anywhere:
        return (values > threshold) | (tied & (nth <= wanted))
    spare = nth[:, -1:] - wanted
    u = torch.rand(spare.shape, device=values.device)
    skipped = (u * (spare + 1)).int().minimum(spare)  # rounding may reach spare + 1
    tied &= (nth > skipped) & (nth <= skipped + wanted)
    return (values > threshold) | tied


def take_in_order(
    orders: Sequence[tuple[Tensor, Scalar]],
    counts: Tensor,
    taken: Tensor | None = None,
    cut_anywhere: bool = False,
) -> Tensor:
    """Take frames (or starts) in one order, then the rest in the next.

    Args:
        orders: Priorities (B, N), the largest come first, and the share of ``counts``
            that is to be reached with them; the last share is 1.
        counts: (B,) numbers of frames in the end.
        taken: (B, N) frames that are taken already and count.
        cut_anywhere: See :func:`topk_mask`.

    Returns (B, N) True where taken: ``counts``, or as many as were taken already.
    """
    for priorities, share in orders:
        wanted = num_frames_to_mask(counts, share)
        if taken is not None:
            priorities = priorities.masked_fill(taken, torch.inf)
            wanted = torch.maximum(wanted, taken.sum(1))
        taken = topk_mask(priorities, wanted, cut_anywhere)
    assert taken is not None
    return taken
