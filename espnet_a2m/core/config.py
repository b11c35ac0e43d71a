"""Configurations in YAML: read them, and refuse keys that nothing understands."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_a2m.core.errors import UserError

# YAML 1.1 takes a number with an exponent for a string unless it has a dot.
FLOAT_WITHOUT_DOT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class ConfigError(UserError):
    """A configuration has a key or a value that nothing understands."""


def nearest(name: object, known: Iterable[object]) -> str:
    """A hint: the nearest of the ``known`` names, else all of them."""
    names = sorted(str(k) for k in known if k is not None)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "choose of " + ", ".join(names)


def check_choice(option: str, value: object, choices: Collection[object]) -> None:
    """Refuse the value of an option that is none of its choices. Raises ConfigError."""
    if value not in choices:
        listed = ", ".join(map(str, choices))
        raise ConfigError(f"{option}={value!r}: choose one of {listed}")


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

    Raises ConfigError also for a number that YAML reads as a string.
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
                f"{where}: {key}: YAML reads {value} as a string: write it with a dot "
                "and a sign, as 1.0e-3 or 1.0e+3"
            )


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, of which YAML would keep the last, and nested aliases.

    A few lines of aliases inside of what other aliases name can fill any memory.
    """

    open_anchors = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias inside an anchored value."""
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and self.open_anchors:
            problem = (
                f"the alias *{event.anchor} is inside of a value with a name (&name): "
                "write the value out"
            )
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        is_anchor = not is_alias and event.anchor is not None
        self.open_anchors += is_anchor
        node = super().compose_node(parent, index)
        self.open_anchors -= is_anchor
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        """Refuse a key that is given twice."""
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


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of options. Raises ConfigError: not YAML, a key twice, ..."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e})") from e
    try:
        config = yaml.load(text, _Loader)
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(e, "problem", None) or e
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from e
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        # what PyYAML lets through of int(), datetime() and its look-ups
        raise ConfigError(f"{path}: a value that cannot be read ({e})") from e
    if config is None:  # a file of comments: all defaults
        return {}
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected lines of `option: value`")
    return config
