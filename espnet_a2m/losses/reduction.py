"""The one place where per-utterance sums become a loss (section III-C)."""

from __future__ import annotations

import dataclasses

import torch

from espnet_a2m.core.distributed import sum_over_processes


@dataclasses.dataclass
class LossTerm:
    """What an objective returns; ``stats`` are scalars to report, on the device."""

    sums: torch.Tensor  # (B,) float32, the loss of each utterance, over its frames
    counts: torch.Tensor  # (B,) how many frames that were
    stats: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)


def reduce(
    term: LossTerm, utterance_weight: torch.Tensor | None = None
) -> torch.Tensor:
    """``L = sum_u w_u sum_t l_ut / sum_u n_u``, this process's share of it.

    The denominator counts the frames of all processes, so that the sum of their
    shares is the loss of all utterances together. The (B,) weights w_u, see
    :class:`UtteranceWeight`, do not change it; None: 1 for all.
    """
    sums = term.sums if utterance_weight is None else utterance_weight * term.sums
    return sums.sum() / sum_over_processes(term.counts.sum()).clamp(min=1)
