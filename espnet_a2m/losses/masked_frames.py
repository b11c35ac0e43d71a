"""The masked frames of a batch, packed."""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass
class MaskedFrames:
    """The masked frames of a batch, packed; M is their largest number in a row."""

    index: torch.Tensor  # (B, M) positions in time
    valid: torch.Tensor  # (B, M) False on padding

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
