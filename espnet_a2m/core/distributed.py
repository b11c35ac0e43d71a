"""Sums over training processes, so that the loss does not depend on their number."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


def num_processes() -> int:
    """Processes that train together; 1 outside of distributed training."""
    ready = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if ready else 1


def process_rank() -> int:
    """Rank of this process; 0 outside of distributed training."""
    return dist.get_rank() if num_processes() > 1 else 0


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        # every process may use the total for utterances of its own
        total = grad.clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(x: torch.Tensor) -> torch.Tensor:
    """Sum a tensor of the same shape on every process; itself where there is one.

    Every process must call this and use the result. Nothing waits for the device.
    """
    return _Sum.apply(x) if num_processes() > 1 else x


def end_processes() -> None:
    """Leave the process group together: others fail where one ends before them."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
