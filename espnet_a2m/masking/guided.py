"""Guided masking (section III-B): spans start where confidence is high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.masking.sampling import (
    TINY,
    Share,
    cover,
    covered,
    eq3_keys,
    fill_up,
    largest,
    num_starts,
    span_counts,
    target_counts,
    where_start,
)
from espnet_a2m.masking.schedule import AnnealedOptions, Range

#: What decides where spans start.
GUIDANCE = ("uniform", "high", "low", "mixed", "top_k", "shuffled")
#: How much is masked: a share of the frames, or a number of spans.
COVERAGE = ("exact", "starts")
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


def _require(ok: bool, problem: str) -> None:
    if not ok:
        raise ValueError(f"masking_conf: {problem}")


def shuffle_frames(score: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """``score`` (B, T) with the first ``lengths`` (B,) frames permuted at random."""
    order = torch.rand(score.shape, device=score.device)
    padding = padding_mask(lengths, score.size(1))
    return score.gather(1, order.masked_fill_(padding, 2.0).argsort(1))


class GuidedMasking(torch.nn.Module):
    """Draws spans and replaces them in the encoder's input.

    Shapes: B utterances, T frames, D width.

    Args:
        size: D, width of the encoder's input.
        mask_prob: Share of frames to mask; the paper's best is 0.4.
        mask_length: Frames in a span; the paper uses 10.
        guidance: ``high`` starts spans by eq. 3, ``low`` by 1 - s_t, ``mixed`` takes
            ``high_share`` from high and goes on with low, ``top_k`` starts at the
            most confident frames (ties at random). Controls: ``uniform`` ignores the
            confidences (the baseline), ``shuffled`` permutes them in time within the
            utterance.
        high_share: Of ``mixed``: the share of the spans (of the masked frames, at
            exact coverage) that is from high.
        power: Probabilities are proportional to s_t ** power (low: of 1 - s_t).
        temperature: They are proportional to exp(s_t ** power / temperature) instead.
            Neither changes ``uniform`` and ``top_k``.
        coverage: ``exact`` draws spans until exactly ``mask_prob`` of every
            utterance's frames are masked, and cuts the last short; ``starts`` draws
            mask_prob * length / mask_length of them, as fairseq does; they overlap,
            so fewer frames are masked (0.65: 49 %).
        min_masks: At least so many spans are drawn in every utterance, as far as it
            has room for their starts.
        mask_channel_prob: Share of channels that are set to zero in all frames, in
            training, as in wav2vec 2.0: spans as by ``coverage: starts``, drawn
            uniformly for every utterance.
        mask_channel_length: Channels in a span.
        replacement: Masked frames become a ``learned`` vector (mask_emb), ``noise``
            (of standard deviation ``noise_std``, as in BEST-RQ) or ``zeros``.
        noise_std: See ``replacement``.
        anneal: Option -> [start, end, updates] in place of the option's constant:
            linear, then constant. For mask_prob, power, temperature, high_share,
            mask_channel_prob, noise_std.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        size: int,
        mask_prob: float = 0.4,
        mask_length: int = 10,
        guidance: str = "high",
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
        _require(
            guidance != "energy",
            "guidance=energy is `guidance: high` with confidences of the scorer energy "
            "(--scorer energy)",
        )
        for name, value, choices in (
            ("guidance", guidance, GUIDANCE),
            ("coverage", coverage, COVERAGE),
            ("replacement", replacement, REPLACEMENT),
        ):
            hint = f"{name}={value!r}: choose one of " + ", ".join(choices)
            _require(value in choices, hint)
        _require(mask_length >= 1, f"mask_length={mask_length} is not 1 or above")
        _require(min_masks >= 0, f"min_masks={min_masks} is negative")
        self.options = AnnealedOptions(
            "masking_conf",
            dict(
                mask_prob=mask_prob,
                power=power,
                temperature=temperature,
                high_share=high_share,
                mask_channel_prob=mask_channel_prob,
                noise_std=noise_std,
            ),
            RANGES,
            anneal,
        )
        self.masks_channels = self.options.maximum("mask_channel_prob") > 0
        _require(
            not self.masks_channels or 1 <= mask_channel_length <= size,
            f"mask_channel_length={mask_channel_length} is not in [1, {size}], "
            "the width of the encoder's input",
        )
        self.mask_length = mask_length
        self.guidance = guidance
        self.coverage = coverage
        self.min_masks = min_masks
        self.mask_channel_length = mask_channel_length
        self.replacement = replacement
        if replacement == "learned":
            self.mask_emb = torch.nn.Parameter(torch.empty(size).uniform_())

    @property
    def needs_confidence(self) -> bool:
        """Whether `draw` needs confidences."""
        return self.guidance != "uniform"

    @torch.no_grad()
    def draw(
        self,
        lengths: torch.Tensor,
        max_length: int,
        score: torch.Tensor | None,
        updates: torch.Tensor,
    ) -> torch.Tensor:
        """Draw a mask.

        Args:
            lengths: (B,) numbers of frames; 0 masks nothing.
            max_length: T.
            score: (B, T) confidences in [0, 1], where `needs_confidence`.
            updates: 0-dim, updates so far, on the device of ``lengths``.

        Returns:
            (B, T) boolean, True where masked; never beyond ``lengths``.

        Raises:
            ValueError: ``score`` is missing.
        """
        if self.needs_confidence and score is None:
            raise ValueError(f"masking_conf: guidance={self.guidance} needs scores")
        mask_prob, mask_length = self.options.at("mask_prob", updates), self.mask_length
        starts = num_starts(lengths, mask_length)
        orders = self._start_orders(lengths, starts, max_length, score, updates)
        if self.coverage == "starts":
            counts = span_counts(lengths, mask_prob, mask_length)
            counts = counts.clamp(min=self.min_masks).minimum(starts)
            return covered(fill_up(orders, counts), mask_length, lengths)

        first = None
        if self.min_masks:
            counts = starts.clamp(max=self.min_masks)
            first = covered(fill_up(orders, counts), mask_length, lengths)
        frame_orders = [(cover(keys, mask_length), share) for keys, share in orders]
        return fill_up(frame_orders, target_counts(lengths, mask_prob), first)

    def _start_orders(
        self,
        lengths: torch.Tensor,
        starts: torch.Tensor,
        max_length: int,
        score: torch.Tensor | None,
        updates: torch.Tensor,
    ) -> list[tuple[torch.Tensor, Share]]:
        """In which order starts are drawn, for `fill_up`: keys (B, T) and share."""
        if self.guidance == "uniform" or score is None:
            return [(eq3_keys(starts, max_length), 1.0)]
        score = score.float()
        if self.guidance == "top_k":
            # float64 keeps the noise apart from the scores
            keys = score.double() + 1e-8 * torch.rand_like(score)
            return [(where_start(keys, starts), 1.0)]

        def keys_of(x: torch.Tensor) -> torch.Tensor:
            power = self.options.at("power", updates)
            if not self.options.is_off("temperature"):
                temperature = self.options.at("temperature", updates)
                log_weights = x.clamp(min=0.0) ** power / temperature
            elif isinstance(power, torch.Tensor) or power != 1.0:
                log_weights = power * x.clamp(min=TINY).log()
            else:
                return eq3_keys(starts, max_length, x)
            return eq3_keys(starts, max_length, log_weights=log_weights)

        if self.guidance == "low":
            return [(keys_of(1.0 - score), 1.0)]
        if self.guidance == "mixed":
            share = self.options.at("high_share", updates)
            return [(keys_of(score), share), (keys_of(1.0 - score), 1.0)]
        if self.guidance == "shuffled":
            score = shuffle_frames(score, lengths)
        return [(keys_of(score), 1.0)]

    def max_count(self, max_length: int) -> int:
        """Most frames that `draw` masks in an utterance of ``max_length`` frames."""
        mask_prob = self.options.maximum("mask_prob")
        length = torch.tensor(max_length)
        spans = self.min_masks
        count = 1
        if self.coverage == "exact":
            count = max(count, int(target_counts(length, mask_prob)))
        else:
            # the same float32 arithmetic as in `span_counts`
            spans = max(spans, int(length * mask_prob / self.mask_length) + 1)
        return max(1, min(max_length, max(count, spans * self.mask_length)))

    def replace(
        self, features: torch.Tensor, mask: torch.Tensor, updates: torch.Tensor
    ) -> torch.Tensor:
        """Replace masked frames, and in training mask channels.

        Args:
            features: (B, T, D), left as they are.
            mask: (B, T) True where masked.
            updates: 0-dim, updates so far.

        Returns:
            (B, T, D) new features.
        """
        frames = mask[..., None]
        if self.replacement == "learned":
            masked = torch.where(frames, self.mask_emb.to(features), features)
        elif self.replacement == "noise":
            noise = torch.randn_like(features) * self.options.at("noise_std", updates)
            masked = torch.where(frames, noise, features)
        else:
            masked = features.masked_fill(frames, 0.0)
        if not (self.training and self.masks_channels):
            return masked

        batch, _, width = features.shape
        lengths = mask.new_full((batch,), width, dtype=torch.long)
        starts = num_starts(lengths, self.mask_channel_length)
        share = self.options.at("mask_channel_prob", updates)
        counts = span_counts(lengths, share, self.mask_channel_length).minimum(starts)
        chosen = largest(eq3_keys(starts, width), counts)
        channels = covered(chosen, self.mask_channel_length, lengths)
        return masked.masked_fill(channels[:, None], 0.0)
