"""Batch normalisation by the frames of all utterances of a batch, without padding.

A conformer's convolutions end in BatchNorm1d. ESPnet's statistics are those of a
process's padded batch: a second of padding more turns a step's gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from espnet_a2m.core.distributed import sum_over_processes


def normalise_batch(
    module: torch.nn.BatchNorm1d, x: torch.Tensor, inside: torch.Tensor
) -> torch.Tensor:
    """What ``module`` in training gives for the frames of all processes together.

    Args:
        module: Its running statistics are updated.
        x: (B, C, T).
        inside: (B, 1, T) True in utterances.

    Returns:
        (B, C, T); anything outside of the utterances.
    """
    with torch.autocast(x.device.type, enabled=False):
        zeroed = x.float().masked_fill(~inside, 0.0)
        count = inside.sum().float()[None]
        sums = torch.cat([zeroed.sum((0, 2)), zeroed.square().sum((0, 2)), count])
        moments = sum_over_processes(sums)
        count = moments[-1].detach().clamp(min=1.0)
        mean, power = (moments[:-1] / count).chunk(2)
        variance = (power - mean.square()).clamp(min=0.0)
        with torch.no_grad():
            unbiased = variance * count / (count - 1.0).clamp(min=1.0)
            module.running_mean.lerp_(mean, module.momentum)  # type: ignore
            module.running_var.lerp_(unbiased, module.momentum)  # type: ignore
            module.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = module.weight * (variance + module.eps).rsqrt()
        shift = module.bias - mean * scale
        return torch.addcmul(shift[:, None], zeroed, scale[:, None]).to(x.dtype)


@contextmanager
def statistics_of_utterances(
    encoder: torch.nn.Module, inside: torch.Tensor
) -> Iterator[None]:
    """While open, an encoder in training normalises by :func:`normalise_batch`.

    Args:
        encoder: Its own modules, not their class, do so; in evaluation none does.
        inside: (B, T, 1) True in utterances.
    """
    stack: torch.nn.ModuleList = encoder.encoders  # type: ignore[assignment]
    norms = (x for x in stack.modules() if isinstance(x, torch.nn.BatchNorm1d))
    modules = [x for x in norms if x.training]
    inside = inside.transpose(1, 2)
    for module in modules:
        forward = functools.partial(normalise_batch, module, inside=inside)
        module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in modules:
            del module.forward
