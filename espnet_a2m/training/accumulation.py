"""Gradient accumulation weighted by masked frames."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from espnet_a2m.core.distributed import sum_over_processes


class WeightedAccumulation:
    """Forward hook: ``accum_grad`` batches give the mean over their masked frames.

    ESPnet's trainer gives each batch the same share of the gradient, so that a frame
    counts more in a batch that has few. Here, when the n-th batch comes, the gradient
    so far is scaled from a mean over n - 1 batches to its part of the mean over n, and
    so is the loss of the n-th: after the last one the gradient is
    ``sum_n W_n g_n / sum_n W_n`` with the weights W_n of all processes.
    """

    def __init__(self, model: torch.nn.Module, accum_grad: int):
        self.model = model
        self.accum_grad = accum_grad
        self.batches = 0
        self.weight: torch.Tensor

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> Any:
        """Scale the loss that the model returned, and the gradients in place."""
        loss, stats, weight = output
        own = sum_over_processes(weight.detach().sum())
        if self.batches % self.accum_grad == 0:
            self.weight = own
        else:
            before, self.weight = self.weight, self.weight + own
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            torch._foreach_mul_(grads, before / self.weight)
        self.batches += 1
        # the trainer divides by accum_grad
        return loss * (self.accum_grad * own / self.weight), stats, weight


def weighted_accumulation(
    model: torch.nn.Module, accum_grad: int
) -> AbstractContextManager[Any]:
    """While open, training batches of ``model`` accumulate by their weights."""
    if accum_grad == 1:
        return nullcontext()
    return model.register_forward_hook(WeightedAccumulation(model, accum_grad))
