"""What every objective of masked speech modelling is given and returns."""

from __future__ import annotations

import dataclasses

import torch

from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.masked_frames import MaskedFrames
from espnet_a2m.losses.quantizer import Codes
from espnet_a2m.losses.reduction import LossTerm


@dataclasses.dataclass
class MaskedBatch:
    """What objectives predict from and what they predict.

    Shapes: B utterances, T encoder frames, M masked frames, S frames of the front
    end, F its width.
    """

    frames: MaskedFrames  # the masked frames
    lengths: torch.Tensor  # (B,) encoder frames
    feats: torch.Tensor  # (B, S, F) of the front end, neither normalised nor augmented
    feats_lengths: torch.Tensor  # (B,) numbers of its frames
    codes: Codes | None = None  # of the masked frames, where there is a quantiser
    labels: torch.Tensor | None = None  # (B, T) pseudo-labels, where there are any


class Objective(torch.nn.Module):
    """An objective of pre-training.

    Attributes:
        name: Names it in configurations and statistics.
        layer: Encoder layer whose output predicts, counted from 1; None: the
            objective reads no layer.
        weight: Weight of this loss in the sum.
        masked: It is a loss of masked frames, which ATM+S scales (section III-C).
        needs_labels: It predicts the stream ``labels``.
        num_classes: Classes of these labels; None: any number, or no labels.
        usage: How often the classes that it predicts occur; None: it has no classes.
    """

    name: str
    masked: bool = True
    needs_labels: bool = False
    num_classes: int | None = None

    def __init__(self, layer: int | None, weight: float):
        super().__init__()
        self.layer = layer
        self.weight = weight
        self.usage: CodeUsage | None = None

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """Loss of a batch.

        Args:
            hidden: (B, M, D) float32 output of ``layer`` at the masked frames.
            batch: What is to be predicted.
        """
        raise NotImplementedError
