"""Finds misspelt keys of a configuration before hours are spent on it.

ESPnet accepts any value for an option of its YAML file, and meets an unknown key of
``encoder_conf`` and its like only when the model is built, as a bare ``TypeError``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_a2m.core.config import ConfigError, check_kwargs, load_config, nearest

# What ESPnet adds to the config.yaml that it saves beside a model.
SAVED_KEYS = ("config", "version", "distributed")
# Arguments that the tasks pass to the classes themselves.
GIVEN = {
    "encoder_conf": ("input_size",),
    "preencoder_conf": ("input_size",),
    "ctc_conf": ("odim", "encoder_output_size"),
    "collate_fn_conf": ("fs", "random_crop"),
    "loss": ("input_size", "quantizer", "frontend", "feats_size", "input_convs"),
    "optim_conf": ("params",),
    "scheduler_conf": ("optimizer",),
}


def get_task(name: str) -> tuple[Any, argparse.ArgumentParser]:
    """The task class (None: it builds nothing) and a parser; imports ESPnet."""
    if name == "decode":
        from espnet2.bin.asr_inference import get_parser

        return None, get_parser()
    from espnet_a2m.training.asr_task import A2MASRTask
    from espnet_a2m.training.task import A2MTask

    task: Any = {"asr": A2MASRTask, "ssl": A2MTask}[name]
    return task, task.get_parser()


def _check_value(action: argparse.Action, value: Any, where: str) -> None:
    """Refuse a value that the option's type or choices exclude."""
    if isinstance(value, str) and callable(action.type):
        try:
            value = action.type(value)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as e:
            raise ConfigError(f"{where}: {value!r} is not a valid value ({e})") from e
    if action.choices is not None and value not in (action.default, *action.choices):
        if isinstance(value, list | dict):
            return  # ESPnet's own nested options
        raise ConfigError(
            f"{where}: {value!r} is not among its choices: "
            f"{nearest(value, action.choices)}"
        )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected `key: value` lines, found {value!r}")
    return value


def _check_losses(losses: Any, classes: Mapping[str, Any], where: str) -> None:
    """Check a list of {name, conf}, as ESPnet's SSL task takes losses."""
    if not isinstance(losses, list) or not losses:
        raise ConfigError(f"{where}: expected a list of `name:` and `conf:`")
    for i, loss in enumerate(losses):
        here = f"{where}[{i}]"
        for key in _mapping(loss, here):
            if key not in ("name", "conf"):
                raise ConfigError(f"{here}: {key!r}: {nearest(key, ('name', 'conf'))}")
        name = str(_mapping(loss, here).get("name"))
        if name not in classes:
            raise ConfigError(f"{here}: name {name!r}: {nearest(name, classes)}")
        conf = _mapping(loss.get("conf"), f"{here}.conf")
        check_kwargs(classes[name], conf, f"{here}.conf", GIVEN["loss"])


def check_classes(path: str | Path, config: dict[str, Any], task_name: str) -> None:
    """Check every ``*_conf`` against the class that it will be given to.

    Args:
        path: Where the options are from, for messages.
        config: Options; those that are missing have the task's defaults.
        task_name: ``asr`` or ``ssl``.

    Raises:
        ConfigError: Names the option and the nearest one that is known.
    """
    from espnet2.asr.ctc import CTC
    from espnet2.asr_transducer.joint_network import JointNetwork
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes

    from espnet_a2m.training.collate import A2MCollateFn
    from espnet_a2m.training.monitor import MonitorOptions

    task, parser = get_task(task_name)
    classes: dict[str, Any] = {
        "monitor_conf": MonitorOptions,
        "watch_conf": MonitorOptions,
    }
    given = dict(GIVEN)
    if task_name == "asr":
        classes |= {"ctc_conf": CTC, "joint_net_conf": JointNetwork}
        del given["preencoder_conf"]  # unlike the SSL task, it leaves it to the user
    else:
        classes["collate_fn_conf"] = A2MCollateFn
    choices = {c.name: c.classes for c in task.class_choices_list}
    choices |= {"optim": optim_classes, "scheduler": scheduler_classes}
    for name, known in choices.items():
        choice = config.get(name, parser.get_default(name))
        if choice is not None:
            # ESPnet's own default need not be lower case
            classes[f"{name}_conf"] = known[str(choice).lower()]
        elif config.get(f"{name}_conf"):
            raise ConfigError(
                f"{path}: {name}_conf has no effect without `{name}:`, one of "
                f"{', '.join(known)}"
            )
    for option, cls in classes.items():
        where = f"{path}: {option}"
        conf = _mapping(config.get(option), where)
        check_kwargs(cls, conf, where, given.get(option, ()))
    if task_name == "ssl" and "loss" in config:
        from espnet_a2m.training.task import loss_choices

        _check_losses(config["loss"], loss_choices.classes, f"{path}: loss")


def check_config(path: str | Path, task_name: str) -> None:
    """Check all keys of an ESPnet configuration against the task that will read it.

    Args:
        path: YAML file, as given to ``--config``.
        task_name: ``asr``, ``ssl`` (masked speech modelling) or ``decode``
            (asr_inference).

    Raises:
        ConfigError: Names the file, the key and the nearest name that is known.
    """
    config = load_config(path)
    task, parser = get_task(task_name)
    actions = {a.dest: a for a in parser._actions if a.dest != "help"}
    for key, value in config.items():
        if key in SAVED_KEYS:
            continue
        if key not in actions:
            raise ConfigError(
                f"{path}: unknown option {key!r}: {nearest(key, actions)}"
            )
        if (task_name, key, value) == ("asr", "encoder", None):
            continue  # in YAML, ESPnet lets the front end be all of the encoder
        _check_value(actions[key], value, f"{path}: {key}")
    if task is not None:
        check_classes(path, config, task_name)
