"""Sums over training processes, so that the loss does not depend on their number."""

from __future__ import annotations

import torch
import torch.distributed as dist


def num_processes() -> int:
    """Processes that train together; 1 outside of distributed training."""
    ready = dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if ready else 1


def process_rank() -> int:
    """Rank of this process; 0 outside of distributed training."""
    return dist.get_rank() if num_processes() > 1 else 0


def sum_over_processes(x: torch.Tensor) -> torch.Tensor:
    """Sum a tensor of the same shape on every process; itself where there is one.

    Every process must call this and use the result: gradients, too, are summed.
    Nothing waits for the device.
    """
    if num_processes() == 1:
        return x
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(x)


def end_processes() -> None:
    """Leave the process group together: others fail where one ends before them."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
