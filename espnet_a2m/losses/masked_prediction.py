"""Cross-entropy on the codes of masked frames (w2v-BERT, Chung et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from espnet_a2m.losses.objective import LossTerm, Objective
from espnet_a2m.losses.quantizer import Codes, GumbelQuantizer


class MaskedPredictionLoss(Objective):
    """Predict the quantiser's code ids from the masked input.

    Args:
        input_size: D, width of the encoder's layers.
        quantizer: The quantiser that makes the codes; the losses of its groups
            are summed.
        layer: Layer whose output predicts, counted from 1.
        weight: Weight of this loss in the sum.
    """

    name = "masked_prediction"

    def __init__(
        self,
        input_size: int,
        quantizer: GumbelQuantizer,
        layer: int,
        weight: float = 1.0,
    ):
        super().__init__(layer, weight)
        self.num_codebooks = quantizer.num_codebooks
        self.codebook_size = quantizer.codebook_size
        classes = self.num_codebooks * self.codebook_size
        self.classify = torch.nn.Linear(input_size, classes)

    def forward(
        self, hidden: torch.Tensor, codes: Codes, valid: torch.Tensor
    ) -> LossTerm:
        """See :meth:`Objective.forward`.

        ``majority_share`` is the share of the batch's most frequent code: the
        accuracy of always answering with it.
        """
        ids = codes.ids  # integers: no gradient reaches the quantiser from here
        logits = self.classify(hidden).float()
        logits = logits.view(*ids.shape, self.codebook_size)
        frame_loss = F.cross_entropy(
            logits.flatten(0, 2), ids.flatten(), reduction="none"
        ).view_as(ids)
        total = valid.sum().clamp(min=1) * self.num_codebooks
        correct = (logits.argmax(-1) == ids) & valid[..., None]
        ones = valid[..., None].expand_as(ids).to(frame_loss)
        histogram = frame_loss.new_zeros(self.num_codebooks, self.codebook_size)
        histogram = histogram.scatter_add(
            1, ids.flatten(0, 1).transpose(0, 1), ones.flatten(0, 1).transpose(0, 1)
        )
        return LossTerm(
            frame_loss=frame_loss.sum(-1).masked_fill(~valid, 0.0),
            stats={
                "acc_masked_prediction": correct.sum() / total,
                "majority_share": histogram.amax(1).sum() / total,
            },
        )
