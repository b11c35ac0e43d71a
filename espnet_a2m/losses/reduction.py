"""The one place where per-utterance sums become a loss (section III-C)."""

from __future__ import annotations

import dataclasses

import torch

from espnet_a2m.confidence.measures import utterance_confidence
from espnet_a2m.core.distributed import sum_over_processes

#: Weight of an utterance's loss: 1 (ATM), its confidence s_u (ATM+S, eq. 9), or
#: s_u divided by the batch's mean.
UTTERANCE_WEIGHTS = ("none", "confidence", "relative")


@dataclasses.dataclass
class MaskedFrames:
    """The masked frames of a batch, packed; M is their largest number in a row.

    Attributes:
        index: (B, M) positions in time.
        valid: (B, M) False on padding.
    """

    index: torch.Tensor
    valid: torch.Tensor

    @classmethod
    def pack(cls, mask: torch.Tensor, max_count: int) -> MaskedFrames:
        """Find the masked frames of (B, T) ``mask``, in time order.

        ``max_count`` is M, an upper bound of the masked frames of a row that
        is known on the host, so that nothing waits for the device.
        """
        order = mask.to(torch.uint8).sort(dim=1, descending=True, stable=True)
        index = order.indices[:, :max_count]
        return cls(index, mask.gather(1, index))

    def take(self, sequence: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) -> (B, M, ...); padding holds some frame of the same row."""
        index = self.index.reshape(*self.index.shape, *[1] * (sequence.dim() - 2))
        return sequence.gather(1, index.expand(-1, -1, *sequence.shape[2:]))

    @property
    def count(self) -> torch.Tensor:
        """(B,) numbers of masked frames ``n_u``."""
        return self.valid.sum(1)


@dataclasses.dataclass
class LossTerm:
    """What an objective returns.

    Attributes:
        sums: (B,) float32, the loss of each utterance, summed over its frames.
        counts: (B,) how many frames that were.
        stats: Scalars to report, kept on the device.
    """

    sums: torch.Tensor
    counts: torch.Tensor
    stats: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)


def reduce(term: LossTerm, weight: torch.Tensor | None = None) -> torch.Tensor:
    """``L = sum_u w_u sum_t l_ut / sum_u n_u``, this process's share of it.

    The denominator counts the frames of all processes, so that the sum of their
    shares is the loss of all utterances together. It does not know of the weights, so
    that it is the same with and without them.

    Args:
        term: Sums and counts of the utterances.
        weight: (B,) see :class:`UtteranceWeight`; None: 1 for all.
    """
    sums = term.sums if weight is None else weight * term.sums
    return sums.sum() / sum_over_processes(term.counts.sum()).clamp(min=1)


class UtteranceWeight:
    """How much an utterance's loss counts (ATM+S, section III-C).

    Args:
        kind: ``none`` (1 for all), ``confidence`` (s_u, eq. 9) or ``relative``
            (s_u divided by the mean of the batch, over all processes, so that the
            learning rate keeps its meaning).
        fraction: Share of utterances, drawn at random in each batch, that are
            weighted; the others keep 1. The paper's best scales 0.1 of them.
        frames: Frames over which s_u is the mean: ``all`` or ``masked``.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(self, kind: str = "none", fraction: float = 1.0, frames: str = "all"):
        if kind not in UTTERANCE_WEIGHTS:
            raise ValueError(
                f"model_conf: utterance_weight={kind!r}: choose one of "
                + ", ".join(UTTERANCE_WEIGHTS)
            )
        if not 0.0 < fraction <= 1.0:
            raise ValueError(
                f"model_conf: utterance_weight_fraction={fraction} is not in (0, 1]"
            )
        if frames not in ("all", "masked"):
            raise ValueError(
                f"model_conf: utterance_weight_frames={frames!r}: choose all or masked"
            )
        self.kind = kind
        self.fraction = fraction
        self.frames = frames

    def __call__(
        self, confidence: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor | None:
        """(B,) weights from (B, T) confidences and mask; None where all are 1."""
        if self.kind == "none":
            return None
        if self.frames == "masked":
            s_u = (confidence * mask).sum(1) / mask.sum(1).clamp(min=1)
        else:
            s_u = utterance_confidence(confidence, lengths)
        s_u = s_u.float()
        if self.kind == "relative":
            present = lengths > 0
            total = sum_over_processes((s_u * present).sum())
            mean = total / sum_over_processes(present.sum()).clamp(min=1)
            s_u = s_u / mean.clamp(min=1e-6)
        if self.fraction < 1.0:
            s_u = torch.where(torch.rand_like(s_u) < self.fraction, s_u, 1.0)
        return s_u
