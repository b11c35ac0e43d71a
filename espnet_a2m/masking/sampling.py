"""From scores to spans: eq. 3 (section III-B) for a whole batch at once.

Drawing starts one after the other without replacement, start ``t`` with probability
``w_t / sum of the weights not yet drawn``, is sorting them by ``log(u_t) / w_t``
(Efraimidis and Spirakis 2006). A frame is covered as soon as the best of the starts
that cover it has been drawn. So the frames, ranked by the best key of these starts,
are covered in the order of sequential drawing, and the first so many of them are the
mask: no loop over draws or utterances, and nothing that the host has to wait for.

Shapes: B utterances, T frames of the padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from espnet_a2m.core.frames import padding_mask

#: Frames without confidence are drawn last, not never.
TINY = 1e-30

Share = float | torch.Tensor


def target_counts(lengths: torch.Tensor, mask_prob: Share) -> torch.Tensor:
    """(B,) numbers of frames to mask: ``mask_prob`` of each length, rounded."""
    return (lengths * mask_prob + 0.5).long()


def span_counts(
    lengths: torch.Tensor, mask_prob: Share, mask_length: int
) -> torch.Tensor:
    """(B,) numbers of spans by fairseq's convention.

    ``floor(mask_prob * length / mask_length + u)``, ``u`` in [0, 1) drawn for every
    utterance, so that the mean is not rounded.
    """
    u = torch.rand(lengths.shape, device=lengths.device)
    return (lengths * mask_prob / mask_length + u).long()


def num_starts(lengths: torch.Tensor, mask_length: int) -> torch.Tensor:
    """(B,) numbers of frames where a span of ``mask_length`` frames may start.

    An utterance that is shorter than a span has one start, its first frame.
    """
    return (lengths - mask_length + 1).clamp(min=1).minimum(lengths)


def eq3_keys(
    starts: torch.Tensor,
    max_length: int,
    weights: torch.Tensor | None = None,
    log_weights: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Random keys; the starts by decreasing key are drawn by eq. 3.

    Args:
        starts: (B,) numbers of possible starts, the first of each row.
        max_length: T.
        weights: (B, T) not negative, to which the probabilities are proportional;
            None draws uniformly.
        log_weights: (B, T) their logarithms instead, for weights of any size.
        generator: Source of randomness on the device of ``starts``.

    Returns:
        (B, T) keys, -inf where no span may start.
    """
    shape, device = (len(starts), max_length), starts.device
    # u < 1; log(0) = -inf is a start that is drawn last, and hurts nothing
    keys = torch.rand(shape, generator=generator, device=device).log_()
    if weights is not None:
        keys.div_(weights.clamp(min=TINY))
    if log_weights is not None:  # -log(-log(u) / w): the same order
        keys = log_weights - keys.neg_().log_()
    return where_start(keys, starts)


def where_start(keys: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """``keys`` (B, T), -inf but for the first ``starts`` (B,) of each row."""
    return keys.masked_fill(padding_mask(starts, keys.size(1)), -torch.inf)


def cover(keys: torch.Tensor, mask_length: int) -> torch.Tensor:
    """(B, T) best key of the starts that cover each frame, of (B, T) keys of starts.

    Where no start covers it is -inf.
    """
    padded = F.pad(keys, (mask_length - 1, 0), value=-torch.inf)
    return F.max_pool1d(padded[:, None], mask_length, stride=1)[:, 0]


def covered(
    starts: torch.Tensor, mask_length: int, lengths: torch.Tensor
) -> torch.Tensor:
    """(B, T) frames inside ``lengths`` (B,) that the spans of ``starts`` cover."""
    keys = torch.zeros(starts.shape, device=starts.device)
    keys = keys.masked_fill_(~starts, -torch.inf)
    return (cover(keys, mask_length) == 0) & ~padding_mask(lengths, starts.size(1))


def largest(values: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
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


def fill_up(
    orders: Sequence[tuple[torch.Tensor, Share]],
    counts: torch.Tensor,
    taken: torch.Tensor | None = None,
) -> torch.Tensor:
    """Take frames (or starts) in one order, then the rest in the next.

    Args:
        orders: Values (B, T), the largest come first, and the share of ``counts``
            that is to be reached with them; the last share is 1.
        counts: (B,) numbers of frames in the end.
        taken: (B, T) frames that are taken already and count.

    Returns:
        (B, T) True where taken: ``counts``, or as many as were taken already.
    """
    for values, share in orders:
        wanted = target_counts(counts, share)
        if taken is not None:
            values = values.masked_fill(taken, torch.inf)
            wanted = torch.maximum(wanted, taken.sum(1))
        taken = largest(values, wanted)
    assert taken is not None
    return taken


def span_mask(
    lengths: torch.Tensor,
    max_length: int,
    mask_prob: Share,
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
    starts = num_starts(lengths, mask_length)
    keys = eq3_keys(starts, max_length, confidence, generator=generator)
    return largest(cover(keys, mask_length), target_counts(lengths, mask_prob))
