"""HuBERT's loss (Hsu et al. 2021, eq. 1 and 3): k-means labels of masked frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from espnet_a2m.core.config import check_choice
from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.cross_entropy import masked_cross_entropy
from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.reduction import LossTerm


class HuBERTLoss(Objective):
    """Predict the pseudo-label (stream ``labels``) of every masked frame.

    Args:
        input_size: D, width of the encoder's layers.
        layer, weight: As of `Objective`.
        num_classes: Number of clusters of the labels.
        final_dim: Width of the space in which predictions and labels meet.
        similarity: ``cosine`` with the label embeddings (the paper, fairseq,
            torchaudio) or ``linear``, a product and a bias (ESPnet).
        logit_temp: Temperature of either.

    Raises ValueError: unknown ``similarity``.
    """

    usage: CodeUsage
    name = "hubert"
    needs_labels = True

    def __init__(
        self,
        input_size: int,
        layer: int,
        num_classes: int,
        weight: float = 1.0,
        final_dim: int = 256,
        similarity: str = "cosine",
        logit_temp: float = 0.1,
    ):
        super().__init__(layer, weight)
        check_choice("hubert: similarity", similarity, ("cosine", "linear"))
        self.num_classes = num_classes
        self.similarity = similarity
        self.logit_temp = logit_temp
        self.usage = CodeUsage(1, num_classes)
        self.final_proj = torch.nn.Linear(input_size, final_dim)
        self.label_embeddings = torch.nn.Linear(
            final_dim, num_classes, bias=similarity == "linear"
        )
        if similarity == "cosine":
            torch.nn.init.uniform_(self.label_embeddings.weight)

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """See :meth:`Objective.forward` and :func:`masked_cross_entropy`."""
        assert hidden is not None and batch.labels is not None
        projected = self.final_proj(hidden)
        if self.similarity == "linear":
            logits = self.label_embeddings(projected)
        else:
            vectors = projected, self.label_embeddings.weight
            logits = F.linear(*(F.normalize(x, dim=-1) for x in vectors))
        logits = logits[:, :, None] / self.logit_temp
        ids = batch.frames.take(batch.labels)[..., None]
        return masked_cross_entropy(logits, ids, batch.frames.valid, self.usage)
