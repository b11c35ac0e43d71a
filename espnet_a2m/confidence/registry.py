"""Scorers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.core.config import check_kwargs
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.registry import find_part

#: Name -> module and class; imported when chosen, for some need optional packages
SCORERS = {
    "espnet": "espnet_a2m.confidence.espnet:ESPnetScorer",
    "hf": "espnet_a2m.confidence.huggingface:HuggingFaceScorer",
    "ctm": "espnet_a2m.confidence.ctm:CTMScorer",
    "energy": "espnet_a2m.confidence.energy:EnergyScorer",
}


def build_scorer(
    name: str, conf: Mapping[str, Any], where: str = "scorer_conf"
) -> Scorer:
    """Build a scorer.

    Args:
        name: One of ``SCORERS``, or ``package.module:Class`` of the user's own.
        conf: Its options.
        where: What the options were read from, for messages.

    Raises:
        UserError: There is no scorer of this name, an option is unknown, missing or
            makes no sense, or a file does not.
    """
    cls = find_part(name, SCORERS, f"--scorer {name}")
    if not (isinstance(cls, type) and issubclass(cls, Scorer)):
        raise UserError(
            f"--scorer {name}: it is no scorer: derive it from "
            f"{Scorer.__module__}.{Scorer.__name__}"
        )
    check_kwargs(cls, conf, where)
    try:
        inspect.signature(cls).bind(**conf)
    except TypeError as e:
        raise UserError(f"{where}: --scorer {name}: {e}") from None
    try:
        return cls(**conf)
    except UserError:
        raise
    except ValueError as e:
        raise UserError(f"{where}: {e}") from e
