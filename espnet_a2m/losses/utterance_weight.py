"""ATM+S: each utterance's loss is scaled by its confidence (eq. 9, section III-C)."""

from __future__ import annotations

import torch

from espnet_a2m.confidence.measures import utterance_confidence
from espnet_a2m.core.config import ConfigError, check_choice
from espnet_a2m.core.distributed import sum_over_processes

#: Weight of an utterance's loss: 1 (ATM), its confidence s_u (ATM+S, eq. 9), s_u
#: divided by the batch's mean, or that of another utterance.
UTTERANCE_WEIGHTS = ("none", "confidence", "relative", "shuffled")


def shuffle(values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """(B,) values of those present, in random order; the others keep theirs."""
    absent = (~present).float()
    to = absent.argsort(stable=True)
    of = (torch.rand_like(absent) + 2 * absent).argsort()
    kept = values.scatter(0, to, values[of])
    return torch.where(present, kept, values)


class UtteranceWeight:
    """How much an utterance's loss counts (ATM+S, section III-C).

    Args:
        kind: ``none`` (1 for all), ``confidence`` (s_u, eq. 9), ``relative``
            (s_u divided by the mean of the batch, over all processes, so that the
            learning rate keeps its meaning) or, as a control, ``shuffled`` (s_u of
            another utterance of the process's batch, which is of like length).
        fraction: Share of utterances, drawn at random in each batch, that are
            weighted; the others keep 1. The paper's best scales 0.1 of them.
        frames: Frames that s_u is of: ``all`` or ``masked``.

    Raises ValueError: an argument is out of its range.
    """

    def __init__(self, kind: str = "none", fraction: float = 1.0, frames: str = "all"):
        check_choice("model_conf: utterance_weight", kind, UTTERANCE_WEIGHTS)
        check_choice("model_conf: utterance_weight_frames", frames, ("all", "masked"))
        if not 0.0 < fraction <= 1.0:
            raise ConfigError(
                f"model_conf: utterance_weight_fraction={fraction} is not in (0, 1]"
            )
        self.kind, self.fraction, self.frames = kind, fraction, frames

    def __call__(
        self,
        confidence: torch.Tensor,
        lengths: torch.Tensor,
        mask: torch.Tensor,
        s_u: torch.Tensor | None = None,
    ) -> torch.Tensor | None:
        """(B,) weights; None where all are 1.

        ``confidence`` and ``mask`` are (B, T), numbers of frames and the scorer's
        ``s_u`` (B,); None: the means of all frames.
        """
        if self.kind == "none":
            return None
        if self.frames == "masked":
            s_u = (confidence * mask).sum(1) / mask.sum(1).clamp(min=1)
        elif s_u is None:
            s_u = utterance_confidence(confidence, lengths)
        s_u, present = s_u.float(), lengths > 0
        if self.kind == "shuffled":
            s_u = shuffle(s_u, present)
        if self.kind == "relative":
            total = sum_over_processes((s_u * present).sum())
            mean = total / sum_over_processes(present.sum()).clamp(min=1)
            s_u = s_u / mean.clamp(min=1e-6)
        if self.fraction < 1.0:
            s_u = torch.where(torch.rand_like(s_u) < self.fraction, s_u, 1.0)
        return s_u
