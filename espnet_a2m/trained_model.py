"""Reads a model that one of ESPnet's tasks has trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_a2m.errors import UserError


def load_trained_model(
    task: Any, model_file: str | Path, config_file: str | Path | None, remedy: str
) -> Any:
    """Build the model of a configuration and fill all of its parameters.

    Args:
        task: ESPnet task that trained it.
        model_file: Parameters, such as ``valid.loss.ave.pth``; only tensors are read.
        config_file: Training configuration; ``config.yaml`` beside the model when
            None.
        remedy: What to do where a file is missing, for the message.

    Returns:
        The model on the CPU. Random numbers drawn afterwards are as without the call.

    Raises:
        UserError: A file is missing, or one does not fit the other.
    """
    model_path = Path(model_file)
    config_path = Path(config_file or model_path.parent / "config.yaml")
    for path in (model_path, config_path):
        if not path.is_file():
            raise UserError(f"{path}: no such file; {remedy}")
    with config_path.open(encoding="utf-8") as f:
        args = argparse.Namespace(**yaml.safe_load(f))
    with torch.random.fork_rng(devices=[]):
        model = task.build_model(args)
    state = torch.load(model_path, map_location="cpu", weights_only=True)
    try:
        # strict: ESPnet would ignore keys that do not match and leave layers random
        model.load_state_dict(state, strict=True)
    except RuntimeError as e:
        raise UserError(
            f"{model_path}: does not fit {config_path}, or was trained by "
            f"another release: {e}"
        ) from e
    return model
