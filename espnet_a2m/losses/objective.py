"""What every objective of masked speech modelling is and returns."""

from __future__ import annotations

import dataclasses

import torch

from espnet_a2m.losses.quantizer import Codes


@dataclasses.dataclass
class LossTerm:
    """What an objective returns.

    Attributes:
        frame_loss: (B, M) float32 loss of each masked frame, 0 on padding.
        stats: Scalars to report, kept on the device.
    """

    frame_loss: torch.Tensor
    stats: dict[str, torch.Tensor]


class Objective(torch.nn.Module):
    """An objective on one layer's output at the masked frames.

    Attributes:
        name: Names it in the statistics.
        layer: Layer whose output predicts, counted from 1.
        weight: Weight of this loss in the sum.
    """

    name: str

    def __init__(self, layer: int, weight: float):
        super().__init__()
        self.layer = layer
        self.weight = weight

    def forward(
        self, hidden: torch.Tensor, codes: Codes, valid: torch.Tensor
    ) -> LossTerm:
        """Loss of the masked frames.

        Args:
            hidden: (B, M, D) output of ``layer`` at the masked frames.
            codes: Their codes.
            valid: (B, M) False on padding.
        """
        raise NotImplementedError
