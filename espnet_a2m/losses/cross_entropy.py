"""Cross-entropy on class ids of the masked frames, which several objectives share."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from espnet_a2m.losses.code_usage import CodeUsage
from espnet_a2m.losses.reduction import LossTerm


def masked_cross_entropy(
    logits: torch.Tensor, ids: torch.Tensor, valid: torch.Tensor, usage: CodeUsage
) -> LossTerm:
    """Loss and accuracy of predicting ``ids``.

    Args:
        logits: (B, M, G, V) float32 for G groups of V classes.
        ids: (B, M, G) the right classes; the losses of the groups are summed.
        valid: (B, M) False on padding.
        usage: How often the classes occurred before; this batch is added.

    Returns:
        Sums of the masked frames' losses. ``acc`` is the accuracy, ``majority`` that of
        always answering with the most frequent class; in training, ``nats_gained`` is
        the cross-entropy of the classes' own frequencies minus that of the prediction:
        what the frames around a masked one tell of it, whatever the number of classes.
        In evaluation ``cross_entropy`` is given instead: the frequencies are known at
        the end (:meth:`CodeUsage.end_validation`).
    """
    flat = logits.flatten(0, 2), ids.flatten()
    frame_loss = F.cross_entropy(*flat, reduction="none").view_as(ids).sum(-1)
    sums, count = frame_loss.masked_fill(~valid, 0.0).sum(1), valid.sum(1)
    total = count.sum().clamp(min=1)
    nats = sums.detach().sum() / total
    correct = (logits.detach().argmax(-1) == ids) & valid[..., None]
    blind_nats, majority = usage.blind_guess(ids, valid)
    usage.update(ids, valid)
    stats = {"acc": correct.sum() / (total * ids.size(-1)), "majority": majority}
    if usage.training:
        stats["nats_gained"] = blind_nats - nats
    else:
        stats["cross_entropy"] = nats
    return LossTerm(sums, count, stats)
