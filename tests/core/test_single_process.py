"""One process alone; several are in tests/training/test_distributed.py."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from espnet_a2m.core.distributed import (
    end_processes,
    num_processes,
    process_rank,
    sum_over_processes,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("group", [False, True])
def test_one_process_is_its_own_sum(tmp_path, group):
    if group:
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
        )
    try:
        assert (num_processes(), process_rank()) == (1, 0)
        x = torch.arange(3.0, requires_grad=True)
        sum_over_processes(x).sum().backward()
        assert x.grad.tolist() == [1, 1, 1]
    finally:
        end_processes()
    assert not dist.is_initialized()
