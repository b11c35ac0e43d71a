"""Finds configurations that do not fit together, before a recipe's first stage."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import humanfriendly
import torch

from espnet_a2m.core.config import ConfigError, load_config, nearest
from espnet_a2m.training.validate_config import check_classes, check_config, get_task

#: What pre-trained parameters belong to
PARTS = ("frontend", "normalize", "preencoder", "encoder")
#: Beginnings of options that change neither parameters nor what they compute
FREE = (
    *("dropout", "positional_dropout", "attention_dropout", "stochastic_depth"),
    *("layer_drop", "interctc_layer_idx", "gradient_checkpoint", "use_flash_attn"),
)
#: Given by the driver, or by one of the two tasks itself
GIVEN = ("stats_file", "input_size")


class Options(NamedTuple):
    """Options of a task, with its default values, and where they are from."""

    where: str
    values: dict[str, Any]


def read_options(
    config: str | Path, task_name: str, args: str = "", option: str = ""
) -> Options:
    """Check a configuration and the options beside it, and merge them.

    Args:
        config: YAML file, as given to ``--config``.
        task_name: See :func:`check_config`.
        args: Words for the task's command line.
        option: What they were given by, for messages.

    Raises:
        ConfigError: Nothing understands an option or its value.
    """
    check_config(config, task_name)
    task, parser = get_task(task_name)
    where = f"{config} with --{option} '{args}'" if args else str(config)
    for word in args.split():
        name = word.partition("=")[0]
        known = parser._option_string_actions
        if name.startswith("--") and not any(x.startswith(name) for x in known):
            raise ConfigError(f"{where}: unknown option {name}: {nearest(name, known)}")

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{where}: {message}")

    for action in parser._actions:
        action.required = False
    parser.error = refuse  # type: ignore[method-assign]
    values = vars(parser.parse_args(["--config", str(config), *args.split()]))
    if task is not None:
        # words such as --specaug none leave the file's specaug_conf behind
        used = {
            name: value
            for name, value in values.items()
            if values.get(name.removesuffix("_conf"), "") is not None
        }
        check_classes(where, used, task_name)
    return Options(where, values)


def read_saved(config: str | Path, task_name: str) -> Options:
    """Options of the ``config.yaml`` that ESPnet saves beside a model."""
    defaults = vars(get_task(task_name)[1].parse_args([]))
    return Options(str(config), {**defaults, **load_config(config)})


def _module(options: Options, part: str) -> tuple[str, dict[str, Any]]:
    """The name of a module and all its options, defaults included."""
    task, _ = get_task("ssl")
    name = str(options.values.get(part)).lower()
    classes = next(c.classes for c in task.class_choices_list if c.name == part)
    conf = dict(options.values.get(f"{part}_conf") or {})
    if name in classes:
        for parameter in inspect.signature(classes[name]).parameters.values():
            conf.setdefault(parameter.name, parameter.default)
    if "fs" in conf:
        conf["fs"] = humanfriendly.parse_size(str(conf["fs"]))
    return name, conf


def check_same_encoder(
    ssl: Options,
    asr: Options,
    why: str = "fine-tuning starts from the pre-trained encoder: give both the same",
) -> None:
    """Refuse parts that pre-trained parameters would not fit, or would compute
    something else in.

    Args:
        ssl: Of the pre-trained model.
        asr: Of the model that starts from it.
        why: For the message.

    Raises:
        ConfigError: Names both files, the options and both values.
    """
    differences = []
    for part in PARTS:
        (a, ssl_conf), (b, asr_conf) = _module(ssl, part), _module(asr, part)
        if a != b:
            differences.append((part, a, b))
        for key in sorted(ssl_conf.keys() & asr_conf.keys()):
            if not key.startswith((*FREE, *GIVEN)) and ssl_conf[key] != asr_conf[key]:
                differences.append((f"{part}_conf.{key}", ssl_conf[key], asr_conf[key]))
    if differences:
        listed = "; ".join(
            f"{option} is {tuned}, but {pretrained} in {ssl.where}"
            for option, pretrained, tuned in differences
        )
        raise ConfigError(f"{asr.where}: {listed}: {why}")


def check_rate(options: Options, fs: int) -> None:
    """Refuse a front end for another sampling rate than that of the formatted audio.

    Raises:
        ConfigError: Names the option.
    """
    name, conf = _module(options, "frontend")
    if conf.get("fs", fs) != fs:
        raise ConfigError(
            f"{options.where}: frontend_conf.fs is {conf['fs']} (of {name}), but the "
            f"audio is formatted at --fs {fs}: give both the same, and with another "
            "rate other n_fft, win_length and hop_length, too"
        )


def check_labels(ssl: Options, label_tag: str, num_clusters: int | None) -> None:
    """Refuse objectives on labels without labels, or on another number of classes.

    Args:
        ssl: Of pre-training.
        label_tag: Of the driver; empty: there are no labels.
        num_clusters: Of labels that are still to be written; None: they are there.

    Raises:
        ConfigError: Names the objective and the driver's option.
    """
    from espnet_a2m.training.task import label_classes

    losses = ssl.values["loss"]
    for i, classes in label_classes(losses).items():
        where = f"{ssl.where}: loss[{i}] ({losses[i]['name']})"
        if not label_tag:
            raise ConfigError(
                f"{where} predicts pseudo-labels: give --label_tag, a name for those "
                "that stage 9 writes"
            )
        if None not in (classes, num_clusters) and classes != num_clusters:
            raise ConfigError(
                f"{where} has num_classes: {classes}, but --num_clusters is "
                f"{num_clusters}: give both the same"
            )


def check_model(ssl: Options) -> torch.nn.Module:
    """Build the model of pre-training without memory: layers, objectives, guidance.

    Raises:
        ConfigError: It cannot be built.
    """
    from espnet_a2m.training.task import A2MTask, leave_out_files

    args = argparse.Namespace(**ssl.values)
    try:
        leave_out_files(args)
        with torch.device("meta"):
            return A2MTask.build_model(args)
    except Exception as e:  # of ESPnet's classes, of any kind
        raise ConfigError(f"{ssl.where}: the model cannot be built: {e}") from e


def find_nonsense(asr: Options, decode: Options) -> str | None:
    """Why ESPnet's search would find nonsense with a model; None if it would not."""
    ctc_weight = asr.values["model_conf"].get("ctc_weight", 0.5)
    is_ctc = ctc_weight == 1.0 or asr.values["decoder"] is None
    given = decode.values["ctc_weight"]
    if not is_ctc or given == 1.0 or decode.values.get("time_sync"):
        return None
    return (
        f"{decode.where}: ctc_weight is {given}, but {asr.where} has no decoder beside "
        "CTC, with which ESPnet's search finds nonsense: set ctc_weight: 1.0"
    )
