"""Continue pre-training from a model of `bin.ssl_train` or of ESPnet's own SSL task."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
from espnet2.layers.global_mvn import GlobalMVN

from espnet_a2m.compat.init_param import match_keys
from espnet_a2m.compat.load import find_statistics
from espnet_a2m.core.errors import UserError, preview
from espnet_a2m.core.files import write_atomic
from espnet_a2m.training.validate_recipe import (
    Options,
    check_model,
    check_same_encoder,
    read_saved,
)

#: All of their parameters are taken over
ENCODER = ("frontend", "preencoder", "encoder")
#: Theirs are where both have the same: the mask vector, and what the losses train
OBJECTIVES = ("masking", "quantizer", "losses")


class Start(NamedTuple):
    """What a run takes over.

    Attributes:
        init_param: ESPnet's option.
        stats_file: The features' statistics; None unless `normalize: global_mvn`.
        summary: A line that says so.
    """

    init_param: list[str]
    stats_file: Path | None
    summary: str


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The parameters in a file that has tensors alone: ESPnet will unpickle it.

    Raises UserError: it has not, or is no checkpoint.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # of a damaged file, torch lets through what it meets
        raise UserError(
            f"{path}: damaged, or not parameters alone (torch.save(model.state_dict(), "
            f"...)), and nothing else is read: {e}"
        ) from e


def check_files(path: Path) -> Path:
    """``config.yaml`` beside a model. Raises UserError: it cannot be continued from."""
    folder = path if path.is_dir() else path.parent
    config = folder / "config.yaml"
    if (folder / "config.json").is_file() and not config.is_file():
        raise UserError(
            f"{folder}: a model of transformers, which no encoder of ESPnet computes "
            "(docs/finetuning.md says why): continue it in transformers, with masks of "
            "espnet_a2m (docs/python.md)"
        )
    for file in (path, config):
        if not file.is_file():
            raise UserError(
                f"{file}: no such file: --ssl_init takes a pre-trained model such as "
                "exp/ssl_atm/valid.nats_gained_hubert.best.pth, with config.yaml beside"
            )
    return config


def find_stats(
    path: Path, config: Path, saved: dict[str, Any], state: dict[str, torch.Tensor]
) -> Path:
    """The statistics that a model normalises its features with.

    Raises UserError: they are missing, or not those.
    """
    conf = find_statistics(saved, config)["normalize_conf"]
    stats = Path(str(conf.get("stats_file")))
    if not stats.is_file():
        raise UserError(
            f"{stats}: no such file, but {config} says that these statistics normalise "
            "the features: put it beside config.yaml"
        )
    normalize = GlobalMVN(**{**conf, "stats_file": stats})
    for name, value in normalize.state_dict().items():
        trained = state.get(f"normalize.{name}", value)
        if value.shape != trained.shape or not torch.allclose(value, trained.to(value)):
            raise UserError(
                f"{stats}: not the statistics that {path} was trained with: put those "
                "beside config.yaml"
            )
    return stats


def find_start(model_file: str | Path, ssl: Options) -> Start:
    """What a run with these options takes over from a pre-trained model.

    Front end, preencoder and encoder must compute the same as there, so that no
    parameter stays random. The mask vector, the quantiser and the losses are taken over
    if the model is of `bin.ssl_train` and ``loss`` is the same.

    Args:
        model_file: Parameters, with ``config.yaml`` beside.
        ssl: Of the run that continues.

    Raises:
        UserError: A file is missing or damaged, or the two do not fit.
    """
    path = Path(model_file)
    config = check_files(path)
    saved = read_saved(config, "ssl")
    why = "--ssl_init continues from that encoder: give both the same"
    check_same_encoder(saved, ssl, why)
    state, target = read_state(path), check_model(ssl).state_dict()

    init_param, fresh, count = [], [], 0
    same_loss = saved.values["loss"] == ssl.values["loss"]
    for part in (*ENCODER, *OBJECTIVES):
        init = f"{path}:{part}:{part}"
        known = {key for key in target if key.startswith(f"{part}.")}
        given = {key for key in state if key.startswith(f"{part}.")}
        if part in OBJECTIVES and not (
            given == known
            and (same_loss or part == "masking")
            and all(state[key].shape == target[key].shape for key in known)
        ):
            fresh += [part] if known else []
            continue
        _, missing = match_keys(init, state, target)
        if missing or given - known:
            raise UserError(
                f"{path}: this model's {preview(missing) or 'parameters'} would stay "
                f"random, and {preview(sorted(given - known)) or 'none'} of the file "
                "be left over: give both the same frontend and encoder configuration, "
                "and the same release of ESPnet"
            )
        if known:
            init_param.append(init)
            count += len(known)
    parts = ", ".join(init.rpartition(":")[2] for init in init_param)
    summary = f"{path}: {count} parameters of {parts} are taken over"
    stats_file = None
    if str(ssl.values["normalize"]).lower() == "global_mvn":
        stats_file = find_stats(path, config, saved.values, state)
        summary += f", and the statistics {stats_file}"
    if fresh:
        summary += f"; {', '.join(fresh)} start from scratch"
    return Start(init_param, stats_file, summary)


def start_from(args: argparse.Namespace) -> None:
    """Have a run begin as its ``--ssl_init`` says.

    The statistics are copied to ``feats_stats.npz`` in ``output_dir``, where
    fine-tuning expects them.

    Raises:
        UserError: See `find_start`.
    """
    start = find_start(args.ssl_init, Options(str(args.config), vars(args)))
    print(start.summary)
    args.init_param = [*start.init_param, *args.init_param]
    if start.stats_file is not None:
        stats = Path(args.output_dir) / "feats_stats.npz"
        write_atomic(stats, start.stats_file.read_bytes())
        args.normalize_conf = {**args.normalize_conf, "stats_file": str(stats)}
