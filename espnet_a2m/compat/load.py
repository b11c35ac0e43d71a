"""Loads a model that one of ESPnet's tasks has trained."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import espnet2
import torch

from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError

#: Parts of a configuration that are built from it alone. ESPnet's others read further
#: checkpoints, from a disk or the net, and unpickle them.
SELF_CONTAINED = {
    "frontend": {"default", "sliding_window", "wav2vec_cnn"},
    "preencoder": {"sinc", "linear"},
    "encoder": {
        *("conformer", "transformer", "branchformer", "e_branchformer"),
        *("multiconv_conformer", "longformer", "rnn", "vgg_rnn"),
        *("contextual_block_conformer", "contextual_block_transformer"),
    },
    "postencoder": {"length_adaptor"},
    "decoder": {
        *("transformer", "lightweight_conv", "lightweight_conv2d", "dynamic_conv"),
        *("dynamic_conv2d", "rnn", "transducer", "mlm", "s4", "linear_decoder"),
    },
}
RISK = "reading it can run any program that its author put into it, with your rights"
UNPICKLING = (
    f"{RISK}. If you trust the author, set trust_checkpoint to true "
    "(--trust_checkpoint true of bin.score and of the recipe, trust_checkpoint=true in "
    "a scorer_conf)"
)


def check_self_contained(config: Mapping[str, Any], where: str) -> None:
    """Refuse parts that would read checkpoints that we have not checked.

    Raises:
        UserError: Names the option.
    """
    for option, known in SELF_CONTAINED.items():
        name = config.get(option)
        if name is not None and str(name).lower() not in known:
            raise UserError(
                f"{where}: `{option}: {name}` may read a further checkpoint, and "
                f"{UNPICKLING}"
            )


def find_statistics(config: dict[str, Any], where: Path) -> dict[str, Any]:
    """Have a model find its own feature statistics, from any directory.

    ESPnet notes their path as it was given, relative to the recipe that trained it: one
    of the directories above its configuration `where`, not always the present one,
    which may have a file of this name, too. If the directory was moved, they may lie
    beside the configuration.
    """
    conf = config.get("normalize_conf") or {}
    stats = conf.get("stats_file")
    if not isinstance(stats, str):
        return config
    home = where.absolute().parent
    folders = [home, *home.parents]
    for path in (*(folder / stats for folder in folders), home / Path(stats).name):
        if path.is_file():
            if Path(stats).is_file() and path.samefile(stats):
                return config
            return {**config, "normalize_conf": {**conf, "stats_file": str(path)}}
    return config


def read_parameters(path: Path, trust_checkpoint: bool) -> dict[str, Any]:
    """Read a file of parameters.

    Raises:
        UserError: It is damaged, or holds more than tensors and is not trusted.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_checkpoint)
    except pickle.UnpicklingError as e:
        raise UserError(
            f"{path}: no checkpoint, or one that holds more than tensors, and "
            f"{UNPICKLING}. Otherwise ask for the parameters alone, "
            "torch.save(model.state_dict(), ...)"
        ) from e
    except Exception as e:  # of a damaged file, torch lets through what it meets
        raise UserError(f"{path}: damaged, or no checkpoint: {e}") from e


def load_trained_model(
    task: Any,
    model_file: str | Path,
    config: str | Path | Mapping[str, Any] | None,
    remedy: str,
    trust_checkpoint: bool = False,
    random_seed: int | None = None,
) -> Any:
    """Build the model of a configuration and fill all of its parameters.

    Args:
        task: ESPnet task that trained it.
        model_file: Parameters, such as ``valid.loss.ave.pth``.
        config: Training configuration, or its file; ``config.yaml`` beside the model
            when None.
        remedy: What to do where a file is missing, for the message.
        trust_checkpoint: Read whatever is in the files; only tensors otherwise.
        random_seed: Leave the parameters as this seed initialises them, to compare a
            trained model with.

    Returns:
        The model on the CPU. Random numbers drawn afterwards are as without the call.

    Raises:
        UserError: A file is missing or not trusted, or one does not fit the other.
    """
    model_path = where = Path(model_file)
    if not isinstance(config, Mapping):
        where = Path(config or model_path.parent / "config.yaml")
    for path in (model_path, where):
        if not path.is_file():
            raise UserError(f"{path}: no such file; {remedy}")
    if not isinstance(config, Mapping):
        config = find_statistics(load_config(where), where)
    if not trust_checkpoint:
        check_self_contained(config, str(where))
    state = read_parameters(model_path, trust_checkpoint)
    # options that came after the release that trained it have their defaults
    config = {**vars(task.get_parser().parse_args([])), **config}
    try:
        with torch.random.fork_rng(devices=[]):
            if random_seed is not None:
                torch.manual_seed(random_seed)
            model = task.build_model(argparse.Namespace(**config))
    except Exception as e:  # whatever constructors raise for options they do not know
        raise UserError(
            f"{where}: ESPnet {espnet2.__version__} cannot build the model that it "
            f"describes ({type(e).__name__}: {e}): it is of another release of ESPnet, "
            "or of another task"
        ) from e
    if random_seed is not None:
        return model
    try:
        # strict: ESPnet would ignore keys that do not match and leave layers random
        model.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as e:
        raise UserError(
            f"{model_path}: does not fit {where}, or was trained by another release: "
            f"{e}"
        ) from e
    return model
