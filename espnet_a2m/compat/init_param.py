"""What ``--init_param`` finds in a stock ESPnet model.

ESPnet prints nothing of the kind, and a fine-tuning that silently starts from random
weights is noticed late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from espnet_a2m.core.errors import UserError, preview


def match_keys(
    init_param: str, state: Mapping[str, Any], target: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Keys of ``target`` that ``<path>:<src>:<dst>`` fills, and those it leaves out.

    Args:
        init_param: As ESPnet takes it.
        state: Parameters in the file at ``<path>``.
        target: Parameters of the model.

    Raises:
        UserError: A parameter has another shape than the model's.
    """
    _, source, destination = (init_param.split(":") + ["", ""])[:3]
    matched, unmatched = [], []
    for key, value in target.items():
        if destination and not key.startswith(f"{destination}."):
            continue
        name = key[len(destination) :].lstrip(".")
        origin = f"{source}.{name}" if source else name
        if origin not in state:
            unmatched.append(key)
        elif state[origin].shape != value.shape:
            raise UserError(
                f"{init_param}: {origin} is {tuple(state[origin].shape)}, but the "
                f"model's {key} is {tuple(value.shape)}: give both the same "
                "frontend and encoder configuration"
            )
        else:
            matched.append(key)
    return matched, unmatched


def check_init_param(init_param: str, model: torch.nn.Module) -> None:
    """Print what an ``--init_param`` fills in a model.

    Raises:
        UserError: It fills nothing, or leaves a parameter random.
    """
    path, destination = init_param.split(":")[0], init_param.split(":")[-1]
    target, modules = model.state_dict(), dict(model.named_modules())
    if destination in modules and not modules[destination].state_dict():
        print(f"{init_param}: {destination} has no parameters")
        return
    state = torch.load(path, map_location="cpu", weights_only=True)
    matched, unmatched = match_keys(init_param, state, target)
    for key in matched:
        print(f"matched {key} {tuple(target[key].shape)}")
    print(f"{init_param}: {len(matched)} matched, {len(unmatched)} not")
    if not matched or unmatched:
        raise UserError(
            f"{init_param}: the model's {preview(unmatched or target)} would stay "
            "random; use the same frontend and encoder configuration, and the same "
            "ESPnet release, as in pre-training"
        )
