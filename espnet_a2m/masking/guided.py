"""Guided masking (section III-B): spans start where confidence is high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from espnet_a2m.core.config import ConfigError, check_choice
from espnet_a2m.masking.guidance import (
    GuidanceOptions,
    Orders,
    guidance_function,
    uniform,
)
from espnet_a2m.masking.sampling import (
    add_overhang,
    keep_first,
    num_frames_to_mask,
    num_overhanging_starts,
    num_spans,
    num_valid_starts,
    sampling_keys,
    sliding_max,
    spans_to_mask,
    take_in_order,
    topk_mask,
)
from espnet_a2m.masking.schedule import AnnealedOptions, Range
from espnet_a2m.masking.start_confidence import (
    SPAN_CONFIDENCE,
    rank_starts,
    span_confidence,
)

#: How much is masked: a share of the frames, or a number of spans.
COVERAGE = ("exact", "starts")
#: Where spans may start and end: beyond both ends of an utterance, or only inside.
SPAN_EDGES = ("overhang", "inside")
#: What stands in the place of masked frames.
REPLACEMENT = ("learned", "noise", "zeros")
#: Options that can be annealed.
RANGES: dict[str, Range] = {
    "mask_prob": ("in (0, 1)", lambda value: 0 < value < 1),
    "power": ("0 or above", lambda value: value >= 0),
    "temperature": ("above 0", lambda value: value > 0),
    "high_share": ("in [0, 1]", lambda value: 0 <= value <= 1),
    "mask_channel_prob": ("in [0, 1)", lambda value: 0 <= value < 1),
    "noise_std": ("0 or above", lambda value: value >= 0),
}


class GuidedMasking(torch.nn.Module):
    """Draws spans and replaces them in the encoder's input.

    Shapes: B utterances, T frames, D width.

    Args:
        size: D, width of the encoder's input.
        mask_prob: Share of frames to mask; the paper's best is 0.4.
        mask_length: Frames in a span; the paper uses 10.
        guidance: How confidences s decide where spans start, see
            :mod:`espnet_a2m.masking.guidance`: ``high`` (eq. 3), ``low``, ``mixed``,
            ``top_k``, ``uniform``, ``shuffled`` or ``package.module:function``.
        span_edges: ``overhang`` lets spans begin before the first frame and end
            after the last, so that every frame lies in ``mask_length`` possible
            spans; at exact coverage the last span is cut to a piece at a random
            place in it. ``inside`` is fairseq's convention: spans lie inside, and
            the last is cut at its end; the first and last frames of an utterance
            are masked several times less often than the others.
        span_confidence: Confidence of a start: ``mean`` or ``max`` of the frames
            that it would mask, or ``first``, of the first of them alone (eq. 3 as the
            paper writes it).
        rank_confidence: Use (rank - 0.5) / n of a start among the n possible starts
            of its utterance as its confidence, so that guidance is as strong with
            any scorer; equal confidences have their mean rank.
        high_share: Of ``mixed``: the share of the spans (of the masked frames, at
            exact coverage) that is from high.
        power: Probabilities are proportional to s ** power (low: of 1 - s).
        temperature: They are proportional to exp(s ** power / temperature) instead.
        coverage: ``exact`` masks exactly ``mask_prob`` of every utterance's frames;
            ``starts`` draws mask_prob / mask_length of the possible starts (``inside``:
            of the utterance's length, as fairseq does), whose spans overlap, so that
            fewer frames are masked (0.65: 48-49 %).
        min_masks: At least so many spans are drawn in every utterance, as far as it
            has room for their starts.
        mask_channel_prob: Share of channels that are set to zero in all frames, in
            training, as in wav2vec 2.0: spans as by ``coverage: starts``, drawn
            uniformly for every utterance.
        mask_channel_length: Channels in a span.
        replacement: Masked frames become a ``learned`` vector (mask_emb), ``noise``
            (of standard deviation ``noise_std``, as in BEST-RQ) or ``zeros``.
        noise_std: See ``replacement``.
        anneal: Option of ``RANGES`` -> [start, end, updates] in place of its constant:
            linear, then constant.

    Raises ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        size: int,
        mask_prob: float = 0.4,
        mask_length: int = 10,
        guidance: str = "high",
        span_edges: str = "overhang",
        span_confidence: str = "mean",
        rank_confidence: bool = True,
        high_share: float = 0.5,
        power: float = 1.0,
        temperature: float | None = None,
        coverage: str = "exact",
        min_masks: int = 0,
        mask_channel_prob: float = 0.0,
        mask_channel_length: int = 10,
        replacement: str = "learned",
        noise_std: float = 0.1,
        anneal: Mapping[str, Sequence[float]] | None = None,
    ):
        super().__init__()
        for name, value, choices in (
            ("span_edges", span_edges, SPAN_EDGES),
            ("span_confidence", span_confidence, SPAN_CONFIDENCE),
            ("coverage", coverage, COVERAGE),
            ("replacement", replacement, REPLACEMENT),
        ):
            check_choice(f"masking_conf: {name}", value, choices)
        if mask_length < 1:
            raise ConfigError(f"masking_conf: mask_length={mask_length} is below 1")
        if min_masks < 0:
            raise ConfigError(f"masking_conf: min_masks={min_masks} is negative")
        constants = {
            "mask_prob": mask_prob,
            "power": power,
            "temperature": temperature,
            "high_share": high_share,
            "mask_channel_prob": mask_channel_prob,
            "noise_std": noise_std,
        }
        self.options = AnnealedOptions("masking_conf", constants, RANGES, anneal)
        self.masks_channels = self.options.maximum("mask_channel_prob") > 0
        if self.masks_channels and not 1 <= mask_channel_length <= size:
            raise ConfigError(
                f"masking_conf: mask_channel_length={mask_channel_length} is not in "
                f"[1, {size}], the width of the encoder's input"
            )
        self.mask_length = mask_length
        self.guidance = guidance
        self.order_starts = guidance_function(guidance)
        self.overhang = span_edges == "overhang"
        self.span_confidence, self.rank_confidence = span_confidence, rank_confidence
        self.coverage, self.min_masks = coverage, min_masks
        self.mask_channel_length = mask_channel_length
        self.replacement = replacement
        if replacement == "learned":
            # not longer than features at first, so that the frames around a masked one
            # show through the layers; zeros would divide by no variance in a layer norm
            self.mask_emb = torch.nn.Parameter(torch.empty(size).normal_(std=0.1))

    @property
    def needs_confidence(self) -> bool:
        """Whether `draw` needs confidences."""
        return self.order_starts is not uniform

    @torch.no_grad()
    def draw(
        self,
        lengths: Tensor,
        max_length: int,
        confidence: Tensor | None,
        updates: Tensor,
    ) -> Tensor:
        """Draw a mask.

        Args:
            lengths: (B,) numbers of frames; 0 masks nothing.
            max_length: T.
            confidence: (B, T) in [0, 1]; may be None unless `needs_confidence`.
            updates: 0-dim, updates so far, on the device of ``lengths``.

        Returns:
            (B, T) boolean, True where masked; never beyond ``lengths``.

        Raises ValueError: ``confidence`` is missing.
        """
        mask_prob = self.options.at("mask_prob", updates)
        of_starts, num_starts = self.start_confidence(confidence, lengths, max_length)
        orders = self._start_orders(of_starts, num_starts, updates)
        if self.coverage == "starts":
            room = num_starts if self.overhang else lengths
            counts = num_spans(room, mask_prob, self.mask_length)
            counts = counts.clamp(min=self.min_masks).minimum(num_starts)
            starts = take_in_order(orders, counts)
            return spans_to_mask(starts, self.mask_length, lengths)

        masked = None
        if self.min_masks:
            starts = take_in_order(orders, num_starts.clamp(max=self.min_masks))
            masked = spans_to_mask(starts, self.mask_length, lengths)
        frame_orders = [
            (keep_first(sliding_max(p, self.mask_length), lengths), share)
            for p, share in orders
        ]
        counts = num_frames_to_mask(lengths, mask_prob)
        return take_in_order(frame_orders, counts, masked, self.overhang)

    def start_confidence(
        self, confidence: Tensor | None, lengths: Tensor, max_length: int
    ) -> tuple[Tensor, Tensor]:
        """Confidences of the possible starts, and (B,) numbers of these.

        Arguments and errors are those of `draw`. The starts come first in the rows of
        (B, T + mask_length - 1), or of (B, T) where spans may not overhang.
        """
        count_starts = num_overhanging_starts if self.overhang else num_valid_starts
        num_starts = count_starts(lengths, self.mask_length)
        overhang = self.mask_length - 1
        if not self.needs_confidence:
            width = max_length + overhang * self.overhang
            zeros = torch.zeros(len(lengths), width, device=lengths.device)
            return zeros, num_starts
        if confidence is None:
            raise ValueError(
                f"masking_conf: guidance={self.guidance} needs confidences"
            )
        of_starts = span_confidence(
            confidence.float(), lengths, self.mask_length, self.span_confidence
        )
        if not self.overhang:
            of_starts = of_starts[:, overhang:]
        if self.rank_confidence:
            of_starts = rank_starts(of_starts, num_starts)
        return of_starts, num_starts

    def guidance_options(self, updates: Tensor) -> GuidanceOptions:
        """What guidances are given after so many updates (0-dim)."""
        at, is_off = self.options.at, self.options.is_off
        temperature = None if is_off("temperature") else at("temperature", updates)
        return GuidanceOptions(
            at("power", updates), temperature, at("high_share", updates)
        )

    def _start_orders(
        self, confidence: Tensor, num_starts: Tensor, updates: Tensor
    ) -> Orders:
        """In which order spans start: priorities (B, T + M - 1) and shares."""
        orders = []
        options = self.guidance_options(updates)
        for priorities, share in self.order_starts(confidence, num_starts, options):
            if priorities.shape != confidence.shape:
                raise ValueError(
                    f"masking_conf: guidance={self.guidance} gives priorities of shape "
                    f"{tuple(priorities.shape)} for {tuple(confidence.shape)} starts"
                )
            # -inf is for what is no start: those of -inf are drawn last, not never
            priorities = priorities.clamp(min=torch.finfo(priorities.dtype).min)
            priorities = keep_first(priorities, num_starts)
            if not self.overhang:
                priorities = add_overhang(priorities, self.mask_length)
            orders.append((priorities, share))
        return orders

    def max_count(self, max_length: int) -> int:
        """Most frames that `draw` masks in an utterance of ``max_length`` frames."""
        mask_prob = self.options.maximum("mask_prob")
        length = torch.tensor(max_length)
        spans, count = self.min_masks, 1
        if self.coverage == "exact":
            count = int(num_frames_to_mask(length, mask_prob))
        else:
            # the same float32 arithmetic as in `num_spans`
            room = length + (self.mask_length - 1) * self.overhang
            spans = max(spans, int(room * mask_prob / self.mask_length) + 1)
        return max(1, min(max_length, max(count, spans * self.mask_length)))

    def replace(self, embedded: Tensor, mask: Tensor, updates: Tensor) -> Tensor:
        """(B, T, D) with masked frames replaced, and in training channels masked.

        Args:
            embedded: (B, T, D), left as it is.
            mask: (B, T) True where masked.
            updates: 0-dim, updates so far.
        """
        frames = mask[..., None]
        if self.replacement == "learned":
            masked = torch.where(frames, self.mask_emb.to(embedded), embedded)
        elif self.replacement == "noise":
            noise = torch.randn_like(embedded) * self.options.at("noise_std", updates)
            masked = torch.where(frames, noise, embedded)
        else:
            masked = embedded.masked_fill(frames, 0.0)
        if not (self.training and self.masks_channels):
            return masked

        batch, _, width = embedded.shape
        lengths = mask.new_full((batch,), width, dtype=torch.long)
        span = self.mask_channel_length
        num_starts = num_valid_starts(lengths, span)
        share = self.options.at("mask_channel_prob", updates)
        counts = num_spans(lengths, share, span).minimum(num_starts)
        keys = sampling_keys(torch.ones(batch, width, device=mask.device))
        starts = topk_mask(add_overhang(keep_first(keys, num_starts), span), counts)
        channels = spans_to_mask(starts, span, lengths)
        return masked.masked_fill(channels[:, None], 0.0)
