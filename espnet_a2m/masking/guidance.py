"""Guidance: how confidences decide where spans start (section III-B).

A guidance is a function of

- ``confidence``, (B, S) float32 in [0, 1], of the possible starts of spans: what
  ``span_confidence`` and ``rank_confidence`` of `GuidedMasking` make of the frames'
  confidences,
- ``lengths``, (B,) numbers of possible starts, which come first,
- ``options``, a `GuidanceOptions`,

that returns a list of (priorities, share). Priorities (B, S) belong to the starts.
Starts of the largest priorities are taken until this share of the
frames to mask is masked, then those of the next entry; the last share is 1. Priorities
from `sample_by` or `sampling_keys` draw starts at random by eq. 3.

Your own function is given as ``guidance: package.module:function``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from espnet_a2m.core.frames import padding_mask
from espnet_a2m.core.registry import find_part
from espnet_a2m.masking.sampling import EPS, log_sampling_keys, sampling_keys
from espnet_a2m.masking.schedule import Scalar


class GuidanceOptions(NamedTuple):
    """Options of `GuidedMasking` at the present update."""

    power: Scalar
    temperature: Scalar | None
    high_share: Scalar


Orders = list[tuple[Tensor, Scalar]]
Guidance = Callable[[Tensor, Tensor, GuidanceOptions], Orders]


def log_weights(confidence: Tensor, options: GuidanceOptions) -> Tensor:
    """Logarithms of what the probabilities of starts are proportional to (eq. 3).

    That is ``s ** power``, or, with a temperature, ``exp(s ** power / temperature)``.
    """
    if options.temperature is None:
        return options.power * confidence.clamp(min=EPS).log()
    return confidence.clamp(min=0.0) ** options.power / options.temperature


def sample_by(confidence: Tensor, options: GuidanceOptions) -> Tensor:
    """(B, S) priorities that draw starts by eq. 3, see `log_weights`."""
    is_plain = not isinstance(options.power, Tensor) and options.power == 1.0
    if is_plain and options.temperature is None:
        return sampling_keys(confidence)
    return log_sampling_keys(log_weights(confidence, options))


def shuffle_starts(confidence: Tensor, lengths: Tensor) -> Tensor:
    """(B, S) with the first ``lengths`` (B,) starts permuted at random."""
    order = torch.rand(confidence.shape, device=confidence.device)
    padding = padding_mask(lengths, confidence.size(1))
    return confidence.gather(1, order.masked_fill_(padding, 2.0).argsort(1))


def uniform(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """All starts alike: the baseline."""
    return [(sampling_keys(torch.ones_like(confidence)), 1.0)]


def high(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """Where confidence is high (eq. 3)."""
    return [(sample_by(confidence, options), 1.0)]


def low(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """Where confidence is low: by 1 - s."""
    return [(sample_by(1.0 - confidence, options), 1.0)]


def mixed(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """``high_share`` where confidence is high, then where it is low."""
    return [
        (sample_by(confidence, options), options.high_share),
        (sample_by(1.0 - confidence, options), 1.0),
    ]


def top_k(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """The most confident starts; random are only ties."""
    # float64 keeps the noise apart from the confidences
    noise = 1e-8 * torch.rand_like(confidence)
    return [(confidence.double() + noise, 1.0)]


def shuffled(confidence: Tensor, lengths: Tensor, options: GuidanceOptions) -> Orders:
    """High, of confidences that are permuted among the utterance's starts."""
    return [(sample_by(shuffle_starts(confidence, lengths), options), 1.0)]


GUIDANCE: dict[str, Guidance] = {
    "uniform": uniform,
    "high": high,
    "low": low,
    "mixed": mixed,
    "top_k": top_k,
    "shuffled": shuffled,
}


def guidance_function(name: str) -> Guidance:
    """The function of a guidance in ``GUIDANCE``, or ``package.module:function``.

    Raises ValueError: there is none of this name.
    """
    where = f"masking_conf: guidance={name}"
    if name == "energy":
        raise ValueError(
            f"{where}: give the confidences of --scorer energy and `guidance: high`"
        )
    function = find_part(name, GUIDANCE, where)
    if not callable(function):
        raise ValueError(f"{where}: it is no function")
    return function
