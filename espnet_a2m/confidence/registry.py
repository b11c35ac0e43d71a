"""Scorers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.core.config import check_kwargs, nearest
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.registry import load_object

#: Name -> module and class; imported when chosen, for some need optional packages
SCORERS = {
    "espnet": "espnet_a2m.confidence.espnet:ESPnetScorer",
    "hf": "espnet_a2m.confidence.huggingface:HuggingFaceScorer",
    "ctm": "espnet_a2m.confidence.ctm:CTMScorer",
    "energy": "espnet_a2m.confidence.energy:EnergyScorer",
}


def scorer_class(name: str) -> type[Scorer]:
    """The class of a scorer.

    Args:
        name: One of ``SCORERS``, or ``package.module:Class`` of the user's own.

    Raises:
        UserError: There is none of this name, or it is no scorer.
    """
    path = SCORERS.get(name, name)
    if ":" not in path:
        raise UserError(
            f"--scorer {name}: {nearest(name, SCORERS)}; your own is given as "
            "package.module:Class"
        )
    cls = load_object(path, f"--scorer {name}")
    if not (isinstance(cls, type) and issubclass(cls, Scorer)):
        raise UserError(
            f"--scorer {name}: it is no scorer: derive it from "
            f"{Scorer.__module__}.{Scorer.__name__}"
        )
    return cls


def build_scorer(
    name: str, conf: Mapping[str, Any], where: str = "scorer_conf"
) -> Scorer:
    """Make a scorer.

    Args:
        name: See :func:`scorer_class`.
        conf: Its options.
        where: What the options were read from, for messages.

    Raises:
        UserError: An option is unknown, missing or makes no sense, or a file does not.
    """
    cls = scorer_class(name)
    check_kwargs(cls, conf, where)
    required = [
        p.name
        for p in inspect.signature(cls).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if missing := [option for option in required if option not in conf]:
        raise UserError(f"{where}: --scorer {name} needs {', '.join(missing)}")
    try:
        return cls(**conf)
    except UserError:
        raise
    except ValueError as e:
        raise UserError(f"{where}: {e}") from e
