"""What a forward pass keeps for the gradient, with mixed precision or without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def nbytes(tensors: Any) -> int:
    """Size of tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


class WeightCopies(TorchDispatchMode):
    """Notes the copies in another type that are made of parameters.

    Attributes:
        parameters: Places of the parameters.
        storages: Place of a copy -> the copy, held so that its place is not used again.
        originals: Place of a copy -> that of its parameter.
    """

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.parameters = {x.untyped_storage()._cdata for x in model.parameters()}
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.originals: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            original = args[0].untyped_storage()._cdata
            if original in self.parameters:
                storage = output.untyped_storage()
                self.storages[storage._cdata] = storage
                self.originals[storage._cdata] = original
        return output


def saved_bytes(
    model: torch.nn.Module, run: Callable[[], torch.Tensor]
) -> tuple[int, int]:
    """What a forward pass keeps for the gradient, apart from the parameters.

    Returns:
        Bytes of activations; bytes of copies of weights. There is one of each weight,
        however often it is cast: here an LSTM's are at every step, where a GPU has one
        product for all.
    """
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage  # held: its place is not used again
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    with WeightCopies(model) as copies, hooks:
        loss = run()
    del loss
    sizes = {key: storage.nbytes() for key, storage in saved.items()}
    of_weights = {key: n for key, n in sizes.items() if key in copies.storages}
    once = {copies.originals[key]: n for key, n in of_weights.items()}
    of_model = {
        x.untyped_storage()._cdata for x in (*model.parameters(), *model.buffers())
    }
    activations = sum(n for key, n in sizes.items() if key not in of_model)
    return activations - sum(of_weights.values()), sum(once.values())


@contextlib.contextmanager
def autocast(device: str, enabled: bool) -> Iterator[None]:
    """``torch.autocast`` to bfloat16, also for a GPU that is not there."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch.set_autocast_enabled(device, enabled)
    torch.set_autocast_dtype(device, torch.bfloat16)
    torch.autocast_increment_nesting()  # casts of weights are kept until the end
    try:
        yield
    finally:
        torch.autocast_decrement_nesting()
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])
        torch.clear_autocast_cache()
