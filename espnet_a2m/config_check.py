"""Finds misspelt keys of an ESPnet configuration before hours are spent on it.

ESPnet accepts any value for an option of its YAML file, and meets an unknown key of
``encoder_conf`` and its like only when the model is built, as a bare ``TypeError``.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import inspect
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_a2m.errors import UserError

TASKS = ("asr", "ssl", "decode")
# What ESPnet adds to the config.yaml that it saves beside a model.
SAVED_KEYS = ("config", "version", "distributed")
# Options that belong to one class, by its name in the task's module.
FIXED_CLASSES = {
    "ctc_conf": "CTC",
    "joint_net_conf": "JointNetwork",
    "collate_fn_conf": "A2MCollateFn",
}
MAX_NODES = 1_000_000  # of a configuration; more only aliases make
# YAML 1.1 takes a number with an exponent for a string unless it has a dot.
FLOAT_WITHOUT_DOT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
# What the tasks pass to these themselves.
GIVEN = {
    "encoder_conf": ("input_size",),
    "preencoder_conf": ("input_size",),
    "ctc_conf": ("odim", "encoder_output_size"),
    "collate_fn_conf": ("fs", "random_crop"),
    "loss": ("input_size", "quantizer", "frontend", "feats_size", "input_convs"),
    "optim_conf": ("params",),
    "scheduler_conf": ("optimizer",),
}


class ConfigError(UserError):
    """A configuration has a key or a value that nothing understands."""


def nearest(name: object, known: Iterable[object]) -> str:
    """A hint: the nearest of the ``known`` names, else all of them."""
    names = sorted(str(k) for k in known if k is not None)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "choose of " + ", ".join(names)


def check_kwargs(
    cls: Any, kwargs: Mapping[str, Any], where: str, given: Collection[str] = ()
) -> None:
    """Refuse keyword arguments that ``cls`` does not take.

    A class that takes ``**kwargs`` takes anything and is not checked.

    Args:
        cls: A class or function.
        kwargs: What it is to be called with; may be only a part of it.
        where: What the arguments were read from, for the message.
        given: Arguments that the caller adds itself; they may not be in ``kwargs``.

    Raises:
        ConfigError: A key is unknown (the message has the nearest one that is known),
            or a number was written in a form that YAML reads as a string.
    """
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [
        p.name
        for p in parameters
        if p.kind is not p.VAR_POSITIONAL and p.name not in given
    ]
    for key, value in kwargs.items():
        if key not in known:
            raise ConfigError(
                f"{where}: {cls.__name__} has no option {key!r}: {nearest(key, known)}"
            )
        if isinstance(value, str) and FLOAT_WITHOUT_DOT.fullmatch(value):
            raise ConfigError(
                f"{where}: {key}: YAML reads {value} as a string: "
                f"write it with a dot and a sign, {_with_dot(value)}"
            )


def _with_dot(number: str) -> str:
    """``1e-3`` as ``1.0e-3``, which YAML reads as a number."""
    mantissa, exponent = re.split("[eE]", number)
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent if exponent[0] in '+-' else '+' + exponent}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *name
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                continue
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _count_nodes(node: yaml.Node, counted: dict[int, int]) -> int:
    """Nodes below one, those of aliases as often as they stand there."""
    if id(node) not in counted:
        counted[id(node)] = MAX_NODES  # while it is counted: it may hold itself
        children = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in children for part in pair]
        counted[id(node)] = 1 + sum(_count_nodes(c, counted) for c in children)
    return counted[id(node)]


def _parse(text: str) -> Any:
    """Python's values of a YAML document, of a size that a person writes.

    Raises:
        yaml.YAMLError: It is not YAML, a key is there twice, or the aliases in it stand
            for more than a million nodes.
    """
    loader = _UniqueKeyLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_nodes(node, {}) > MAX_NODES:
            raise yaml.MarkedYAMLError(problem="too much is behind its aliases (*name)")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.MarkedYAMLError(problem="nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        # what PyYAML lets through of int(), datetime() and its look-ups
        raise yaml.MarkedYAMLError(problem=f"a value that cannot be read ({e})") from e
    finally:
        loader.dispose()


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of options.

    Raises:
        ConfigError: Missing, not YAML, a key twice, or not a mapping.
    """
    try:
        config = _parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e})") from e
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(e, "problem", None) or e
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from e
    if config is None:  # a file of comments: all defaults
        return {}
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected lines of `option: value`")
    return config


@functools.cache
def _get_task(name: str) -> tuple[Any, argparse.ArgumentParser]:
    """The task class (None: it builds nothing) and parser; takes seconds to import."""
    if name == "asr":
        from espnet2.tasks.asr import ASRTask

        return ASRTask, ASRTask.get_parser()
    if name == "ssl":
        from espnet_a2m.task import A2MTask

        return A2MTask, A2MTask.get_parser()
    if name == "decode":
        from espnet2.bin.asr_inference import get_parser

        return None, get_parser()
    raise ConfigError(f"--task {name}: {nearest(name, TASKS)}")


def _registries(task: Any) -> dict[str, Mapping[str, Any]]:
    """Option name -> classes to choose from, for all ``<name>``, ``<name>_conf``."""
    from espnet2.tasks.abs_task import optim_classes, scheduler_classes

    registries = {c.name: c.classes for c in task.class_choices_list}
    for i in range(1, task.num_optimizers + 1):
        suffix = "" if i == 1 else str(i)
        registries[f"optim{suffix}"] = optim_classes
        registries[f"scheduler{suffix}"] = scheduler_classes
    return registries


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


def _check_classes(
    path: str | Path, config: dict[str, Any], task: Any, defaults: Mapping[str, Any]
) -> None:
    """Check every ``*_conf`` against the class that it will be given to."""
    module = sys.modules[task.__module__]
    given = dict(GIVEN)
    if task.__name__ == "ASRTask":
        del given["preencoder_conf"]  # unlike the SSL task, it leaves it to the user
    for name, classes in _registries(task).items():
        option = f"{name}_conf"
        where = f"{path}: {option}"
        conf = _mapping(config.get(option), where)
        choice = config.get(name, defaults[name])
        if choice is not None:
            # ESPnet's own default need not be lower case
            cls = classes[str(choice).lower()]
            check_kwargs(cls, conf, where, given.get(option, ()))
        elif conf:
            raise ConfigError(
                f"{where} has no effect without `{name}:`, one of {', '.join(classes)}"
            )
    for option, class_name in FIXED_CLASSES.items():
        if hasattr(module, class_name):
            where = f"{path}: {option}"
            conf = _mapping(config.get(option), where)
            check_kwargs(
                getattr(module, class_name), conf, where, given.get(option, ())
            )
    if "loss" in config and hasattr(module, "loss_choices"):
        _check_losses(config["loss"], module.loss_choices.classes, f"{path}: loss")


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
    task, parser = _get_task(task_name)
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
        defaults = {name: action.default for name, action in actions.items()}
        _check_classes(path, config, task, defaults)
