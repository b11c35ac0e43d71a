"""Masked prediction of w2v-BERT (Chung et al. 2021): the quantiser's ids."""

from __future__ import annotations

import torch

from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.cross_entropy import masked_cross_entropy
from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.quantizer import GumbelQuantizer
from espnet_a2m.losses.reduction import LossTerm


class MaskedPredictionLoss(Objective):
    """Predict the quantiser's code ids from the masked input.

    Args:
        input_size: D, width of the encoder's layers.
        quantizer: The quantiser that makes the codes; the losses of its groups
            are summed.
        layer, weight: As of `Objective`.
    """

    usage: CodeUsage
    name = "masked_prediction"

    def __init__(
        self,
        input_size: int,
        quantizer: GumbelQuantizer,
        layer: int,
        weight: float = 1.0,
    ):
        super().__init__(layer, weight)
        self.codebook_size = quantizer.codebook_size
        self.usage = CodeUsage(quantizer.num_codebooks, quantizer.codebook_size)
        classes = quantizer.num_codebooks * self.codebook_size
        self.classify = torch.nn.Linear(input_size, classes)

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """See :meth:`Objective.forward` and :func:`masked_cross_entropy`."""
        assert hidden is not None and batch.codes is not None
        ids = batch.codes.ids  # integers: no gradient reaches the quantiser from here
        logits = self.classify(hidden).view(*ids.shape, self.codebook_size)
        return masked_cross_entropy(logits, ids, batch.frames.valid, self.usage)
