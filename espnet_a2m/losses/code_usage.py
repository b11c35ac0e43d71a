"""How often each code or label occurs: what a blind guess would know."""

from __future__ import annotations

from typing import Any

import torch

from espnet_a2m.core.distributed import sum_over_processes

#: Of the counts, per batch in training: a memory of about 100 batches. By the counts of
#: one batch of 250 masked frames, 256 equally likely codes look like 144.
DECAY = 0.99


class CodeUsage(torch.nn.Module):
    """Counts of classes: running ones in training, those of a validation in evaluation.

    Args:
        num_groups: G, groups of classes that are counted separately.
        num_classes: V, classes in a group.
    """

    def __init__(self, num_groups: int, num_classes: int):
        super().__init__()
        self.counts: torch.Tensor
        self.validation_counts: torch.Tensor
        zeros = torch.zeros(num_groups, num_classes)
        self.register_buffer("counts", zeros)
        self.register_buffer("validation_counts", zeros.clone(), persistent=False)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        # checkpoints of earlier versions have no counts
        state_dict.setdefault(f"{prefix}counts", self.counts)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def probs(self) -> torch.Tensor:
        """(G, V) shares of the classes in training; equal before the first batch."""
        smoothed = self.counts + 1 / self.counts.size(1)
        return smoothed / smoothed.sum(1, keepdim=True)

    @property
    def perplexity(self) -> torch.Tensor:
        """Sum over groups of the perplexity of ``probs``."""
        probs = self.probs
        return (-(probs * probs.log()).sum(-1)).exp().sum()

    @torch.no_grad()
    def update(self, ids: torch.Tensor, valid: torch.Tensor) -> None:
        """Count (B, M, G) classes of all processes where ``valid`` (B, M) is true."""
        keep = valid[..., None].expand_as(ids).flatten(0, 1).T.to(self.counts)
        ids = ids.flatten(0, 1).T.contiguous()
        batch = torch.zeros_like(self.counts).scatter_add(1, ids, keep)
        batch = sum_over_processes(batch)
        if self.training:
            self.counts.mul_(DECAY).add_(batch)
        else:
            self.validation_counts.add_(batch)

    def blind_guess(
        self, ids: torch.Tensor, valid: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy of ``probs`` and accuracy of their most frequent class.

        Arguments are those of `update`. Returns, 0-dim, nats a frame, summed over the
        groups, and accuracy over all groups.
        """
        keep = valid[..., None]
        count = valid.sum().clamp(min=1)
        groups = torch.arange(ids.size(-1), device=ids.device)
        nats = -self.probs.log()[groups, ids]
        right = (ids == self.counts.argmax(1)) & keep
        return (nats * keep).sum() / count, right.sum() / (count * ids.size(-1))

    def end_validation(self) -> float:
        """Entropy in nats of what a validation has counted, summed over groups."""
        counts = self.validation_counts.double()
        entropy = -torch.xlogy(counts, counts / counts.sum(1, keepdim=True)).sum(1)
        nats = (entropy / counts.sum(1).clamp(min=1)).sum()
        self.validation_counts.zero_()
        return float(nats)
