"""Feature penalty of wav2vec 2.0: keeps a trained front end's activations small."""

from __future__ import annotations

import torch

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.losses.objective import MaskedBatch, Objective
from espnet_a2m.losses.reduction import LossTerm


class FeaturePenalty(Objective):
    """Mean square of what the front end gives, over all frames.

    Args:
        frontend: The front end, which must have parameters that are trained.
        weight: Weight of the penalty; 10 in wav2vec 2.0 base.

    Raises ValueError: the front end is fixed.
    """

    name = "feature_penalty"
    masked = False

    def __init__(self, frontend: torch.nn.Module, weight: float = 10.0):
        super().__init__(None, weight)
        if not any(p.requires_grad for p in frontend.parameters()):
            raise ValueError(
                f"loss feature_penalty: {type(frontend).__name__} has no parameters, "
                "so there is nothing to penalise: leave it out, or train the front "
                "end (frontend: wav2vec_cnn)"
            )

    def forward(self, hidden: torch.Tensor | None, batch: MaskedBatch) -> LossTerm:
        """See :meth:`Objective.forward`; counts are those of the front end's frames."""
        padding = padding_mask(batch.feats_lengths, batch.feats.size(1))
        energy = batch.feats.float().square().mean(-1)
        return LossTerm((energy * ~padding).sum(1), batch.feats_lengths)
