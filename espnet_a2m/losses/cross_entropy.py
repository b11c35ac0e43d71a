"""Cross-entropy on class ids of the masked frames, which several objectives share."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from espnet_a2m.losses.reduction import LossTerm


def masked_cross_entropy(
    logits: torch.Tensor, ids: torch.Tensor, valid: torch.Tensor
) -> LossTerm:
    """Loss and accuracy of predicting ``ids``.

    Args:
        logits: (B, M, G, V) float32 for G groups of V classes.
        ids: (B, M, G) the right classes; the losses of the groups are summed.
        valid: (B, M) False on padding.

    Returns:
        Sums of the masked frames' losses. ``acc`` is the accuracy; ``majority`` is
        the share of the batch's most frequent class, the accuracy of always
        answering with it.
    """
    num_groups, num_classes = logits.shape[2:]
    frame_loss = F.cross_entropy(
        logits.flatten(0, 2), ids.flatten(), reduction="none"
    ).view_as(ids)
    keep = valid[..., None]
    count = valid.sum(1)
    total = count.sum().clamp(min=1) * num_groups
    correct = (logits.detach().argmax(-1) == ids) & keep
    histogram = frame_loss.new_zeros(num_groups, num_classes).scatter_add(
        1,
        ids.flatten(0, 1).transpose(0, 1),
        keep.expand_as(ids).flatten(0, 1).transpose(0, 1).to(frame_loss.dtype),
    )
    return LossTerm(
        sums=frame_loss.sum(-1).masked_fill(~valid, 0.0).sum(1),
        counts=count,
        stats={
            "acc": correct.sum() / total,
            "majority": histogram.amax(1).sum() / total,
        },
    )
