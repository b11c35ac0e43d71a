"""Frame and utterance confidences from a CTC scorer (sections III-A, III-C)."""

from __future__ import annotations

import math

import torch

from espnet_a2m.core.config import check_choice
from espnet_a2m.core.frames import padding_mask

#: How sure the scorer is of one frame, given its posteriors.
MEASURES = ("max_prob", "entropy", "margin", "nonblank")
#: How the blank enters the measure of a frame. Eq. 2 read literally includes it; but
#: CTC is peaky: the blank is near 1 in silence, where the scorer would seem surest.
BLANK_POLICIES = ("include", "exclude", "renormalise")


def check_measure(measure: str, blank: str, temperature: float) -> None:
    """Refuse options of :func:`frame_confidence` before any work is done.

    Raises:
        ValueError: An unknown measure or blank policy, a temperature that is not
            positive, entropy with the blank excluded, or nonblank with it included.
    """
    check_choice("measure", measure, MEASURES)
    check_choice("blank", blank, BLANK_POLICIES)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}: must be above 0; 1 leaves it out")
    if measure == "entropy" and blank == "exclude":
        raise ValueError(
            "blank=exclude leaves probabilities that do not sum to 1, which have no "
            "entropy: use blank=renormalise with measure=entropy"
        )
    if measure == "nonblank" and blank != "exclude":
        raise ValueError(
            f"measure=nonblank is of the blank alone: leave blank={blank} out"
        )


def frame_confidence(
    log_probs: torch.Tensor,
    measure: str = "max_prob",
    blank: str = "exclude",
    temperature: float = 1.0,
    blank_id: int = 0,
) -> torch.Tensor:
    """How confident the scorer is of each frame.

    With ``p`` the posteriors after the blank's treatment, V' their number:

    - ``max_prob``, eq. 2: ``s_t = max_l p(v_t = l | E)``;
    - ``entropy``: ``1 - H(p) / log V'``, 0 for uniform posteriors;
    - ``margin``: the largest ``p`` minus the second largest;
    - ``nonblank``, a control: 1 - p(blank), that a label is here, whichever it is.

    Args:
        log_probs: (..., T, V) log posteriors of the scorer, up to a constant per
            frame: logits do as well.
        measure: One of ``MEASURES``.
        blank: ``exclude`` looks at all labels but the blank; ``include`` at the blank
            too, which is eq. 2 read literally; ``renormalise`` at all but the blank
            after dividing by their total probability.
        temperature: Divides the log posteriors before they are normalised; above 1
            flattens those of a peaky scorer.
        blank_id: Index of the blank.

    Returns:
        (..., T) float32 confidences in [0, 1].

    Raises ValueError: see :func:`check_measure`.
    """
    check_measure(measure, blank, temperature)
    scores = log_probs.float()
    if temperature != 1:  # spare a copy of all posteriors
        scores = scores / temperature
    labels = scores.size(-1)
    total = scores.logsumexp(-1)
    if measure == "nonblank":
        return (1 - (scores[..., blank_id] - total).exp()).clamp(0.0, 1.0)
    if blank != "include":
        is_blank = torch.arange(labels, device=scores.device) == blank_id
        scores = scores.masked_fill(is_blank, -torch.inf)
        labels -= 1
    if blank == "renormalise":
        total = scores.logsumexp(-1)
    if measure == "max_prob":
        confidence = (scores.amax(-1) - total).exp()
    elif measure == "margin":
        first, second = (scores.topk(2, -1).values - total[..., None]).exp().unbind(-1)
        confidence = first - second
    else:
        posteriors = (scores - total[..., None]).exp()
        entropy = torch.special.entr(posteriors).sum(-1)
        confidence = 1 - entropy / math.log(max(labels, 2))
    return confidence.clamp(0.0, 1.0)


def quantise(confidence: torch.Tensor) -> torch.Tensor:
    """Confidences as one byte per frame keeps them: the nearest multiple of 1/255."""
    return (confidence * 255).round() / 255


def utterance_confidence(
    confidence: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """Eq. 9: ``s_u = (1/T) sum_t s_t``, (B,); 0 for an utterance without frames.

    Args:
        confidence: (B, T) frame confidences; anything beyond ``lengths``.
        lengths: (B,) numbers of frames.
    """
    inside = ~padding_mask(lengths, confidence.size(1))
    return (confidence * inside).sum(1) / lengths.clamp(min=1)
