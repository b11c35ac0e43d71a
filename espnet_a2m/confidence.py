"""Frame and utterance confidences from a CTC scorer (sections III-A, III-C)."""

from __future__ import annotations

import torch

#: How the blank symbol enters the maximum of eq. 2.
BLANK_POLICIES = ("include", "exclude", "renormalise")


def frame_confidence(
    log_probs: torch.Tensor, blank: str = "include", blank_id: int = 0
) -> torch.Tensor:
    """Eq. 2: ``s_t = max_l p(v_t = l | E)``.

    Args:
        log_probs: (..., T, V) log posteriors of the scorer.
        blank: ``include`` takes the maximum over all labels, as the paper
            writes it; ``exclude`` over all but the blank; ``renormalise`` over
            all but the blank after dividing by their total probability.
        blank_id: Index of the blank.

    Returns:
        (..., T) confidences in [0, 1].

    Raises:
        ValueError: Unknown ``blank``.
    """
    if blank not in BLANK_POLICIES:
        raise ValueError(f"blank={blank!r}: choose one of {', '.join(BLANK_POLICIES)}")
    if blank != "include":
        labels = torch.arange(log_probs.size(-1), device=log_probs.device)
        log_probs = log_probs.masked_fill(labels == blank_id, -torch.inf)
    if blank == "renormalise":
        log_probs = log_probs.log_softmax(-1)
    return log_probs.amax(-1).exp().clamp(0.0, 1.0)


def utterance_confidence(
    confidence: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Eq. 9: ``s_u = (1/T) sum_t s_t``.

    Args:
        confidence: (B, T) frame confidences; anything beyond ``lengths``.
        lengths: (B,) numbers of frames.

    Returns:
        (B,) mean confidences; 0 for an utterance without frames.
    """
    frames = torch.arange(confidence.size(1), device=confidence.device)
    inside = frames < lengths[:, None]
    return (confidence * inside).sum(1) / lengths.clamp(min=1)
