"""Guided masking (section III-B): spans start where confidence is high."""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: What decides where spans start.
GUIDANCE = ("uniform", "high")


def target_counts(lengths: torch.Tensor, mask_prob: float) -> torch.Tensor:
    """(B,) numbers of frames to mask: ``mask_prob`` of each length, rounded."""
    return (lengths * mask_prob + 0.5).long()


def span_mask(
    lengths: torch.Tensor,
    max_length: int,
    mask_prob: float,
    mask_length: int,
    confidence: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Draw span starts by eq. 3 until exactly ``mask_prob`` of the frames are masked.

    Starts are drawn without replacement, start ``t`` with probability
    proportional to ``s_t`` among those not yet drawn; each masks the block
    ``[t, t + mask_length)``, and blocks may overlap. The last block is cut
    short where it would pass the wanted number of frames.

    Drawing without replacement is sorting by ``log(u) / s`` (Efraimidis and
    Spirakis 2006), and a frame is covered as soon as the best of the starts
    that cover it has been drawn. So the frames, ranked by the maximum of the
    keys of these starts, are covered in the order of sequential drawing, and
    the first so many of them are the mask: no loop over draws or rows.

    Args:
        lengths: (B,) numbers of frames; 0 masks nothing.
        max_length: T, the number of frames of the padded batch.
        mask_prob: Wanted share of masked frames of every utterance, in [0, 1].
        mask_length: Frames in a span. An utterance that is shorter than a span
            has one start, its first frame.
        confidence: (B, T) frame confidences in [0, 1]; None draws uniformly.
        generator: Source of randomness on the device of ``lengths``.

    Returns:
        (B, T) boolean, True where masked; never beyond ``lengths``.
    """
    device = lengths.device
    frames = torch.arange(max_length, device=device)
    inside = frames < lengths[:, None]
    is_start = frames <= (lengths[:, None] - mask_length).clamp(min=0)

    shape = (lengths.size(0), max_length)
    # 1 - rand is in (0, 1], so that the logarithm is finite
    key = torch.log1p(-torch.rand(shape, generator=generator, device=device))
    if confidence is not None:
        # frames of no confidence are drawn last, not never
        key = key / confidence.clamp(min=1e-8)
    key = key.masked_fill(~is_start, -torch.inf)

    # best key of the starts t - mask_length + 1 ... t that cover frame t
    padded = F.pad(key, (mask_length - 1, 0), value=-torch.inf)
    cover = F.max_pool1d(padded[:, None], mask_length, stride=1)[:, 0]
    cover = cover.masked_fill(~inside, -torch.inf)

    target = target_counts(lengths, mask_prob)[:, None]
    ranked = cover.sort(dim=1, descending=True).values
    threshold = ranked.gather(1, (target - 1).clamp(min=0))
    above = cover > threshold
    # of the span that reaches the target, the first frames that are still wanted
    tied = (cover == threshold) & inside
    wanted = target - above.sum(1, keepdim=True)
    return (above | (tied & (tied.cumsum(1) <= wanted))) & (target > 0)


class GuidedMasking(torch.nn.Module):
    """Replaces spans of the encoder's input by a learned vector.

    Args:
        size: D, width of the encoder's input.
        mask_prob: Share of frames to mask, exact for every utterance. The
            paper's best is 0.4.
        mask_length: Frames in a span; the paper uses 10.
        guidance: ``high`` starts spans by eq. 3; ``uniform`` ignores the
            confidences (the baseline).

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        size: int,
        mask_prob: float = 0.4,
        mask_length: int = 10,
        guidance: str = "high",
    ):
        super().__init__()
        if not 0.0 < mask_prob < 1.0:
            raise ValueError(f"masking_conf: mask_prob={mask_prob} is not in (0, 1)")
        if mask_length < 1:
            raise ValueError(f"masking_conf: mask_length={mask_length} is below 1")
        if guidance not in GUIDANCE:
            raise ValueError(
                f"masking_conf: guidance={guidance!r}: choose one of "
                + ", ".join(GUIDANCE)
            )
        self.mask_prob = mask_prob
        self.mask_length = mask_length
        self.guidance = guidance
        self.mask_emb = torch.nn.Parameter(torch.empty(size).uniform_())

    def draw(
        self, lengths: torch.Tensor, max_length: int, confidence: torch.Tensor | None
    ) -> torch.Tensor:
        """A mask (B, T) for utterances of ``lengths`` with (B, T) confidences."""
        return span_mask(
            lengths,
            max_length,
            self.mask_prob,
            self.mask_length,
            None if self.guidance == "uniform" else confidence,
        )

    def max_count(self, max_length: int) -> int:
        """Most frames that can be masked in an utterance of ``max_length``."""
        return max(1, int(target_counts(torch.tensor(max_length), self.mask_prob)))

    def replace(self, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``features`` (B, T, D) with the learned vector where ``mask`` (B, T)."""
        return torch.where(mask[..., None], self.mask_emb.to(features), features)
