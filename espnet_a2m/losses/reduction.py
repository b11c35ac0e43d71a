"""The one place where per-utterance sums become a loss (section III-C)."""

from __future__ import annotations

import dataclasses

import torch

#: Weight of an utterance's loss: 1 (ATM) or its confidence (ATM+S).
UTTERANCE_WEIGHTS = ("none", "confidence")


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
        """(B, T, D) -> (B, M, D); padding holds some frame of the same row."""
        index = self.index[..., None].expand(-1, -1, sequence.size(-1))
        return sequence.gather(1, index)

    @property
    def count(self) -> torch.Tensor:
        """(B,) numbers of masked frames ``n_u``."""
        return self.valid.sum(1)


def reduce(
    frame_loss: torch.Tensor, count: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """``L = sum_u w_u sum_t l_ut / sum_u n_u``.

    The denominator does not know of the weights, so that it is the same with
    and without them, and with it as weight losses of processes average exactly.

    Args:
        frame_loss: (B, M), 0 on padding.
        count: (B,) numbers of masked frames.
        weight: (B,) 1 for ATM, the utterance confidence (eq. 9) for ATM+S.
    """
    return (weight * frame_loss.sum(1)).sum() / count.sum().clamp(min=1)
