"""Gradient accumulation weighted by masked frames."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from espnet_a2m.core.distributed import sum_over_processes


def weighted_accumulation(
    model: torch.nn.Module, accum_grad: int
) -> AbstractContextManager[Any]:
    """While open, ``accum_grad`` batches give the mean over their masked frames.

    ESPnet's trainer gives each batch the same share of the gradient, so that a frame
    counts more in a batch that has few. Here, when the n-th batch comes, the gradient
    so far is scaled from a mean over n - 1 batches to its part of the mean over n, and
    so is the loss of the n-th: after the last one the gradient is
    ``sum_n W_n g_n / sum_n W_n`` with the weights W_n of all processes.
    """
    weights: list[torch.Tensor] = []  # of the batches of an update

    def scale(module: torch.nn.Module, args: Any, output: Any) -> Any:
        loss, stats, weight = output
        own = sum_over_processes(weight.detach().sum())
        if len(weights) == accum_grad:
            weights.clear()
        weights.append(own)
        total = torch.stack(weights).sum()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        if len(weights) > 1:
            torch._foreach_mul_(grads, (total - own) / total)
        # the trainer divides by accum_grad
        return loss * (accum_grad * own / total), stats, weight

    return nullcontext() if accum_grad == 1 else model.register_forward_hook(scale)
