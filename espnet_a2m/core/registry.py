"""Parts by name: ours, or the user's own by ``package.module:name``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from espnet_a2m.core.config import nearest
from espnet_a2m.core.errors import UserError


def find_part(name: str, known: Mapping[str, Any], where: str) -> Any:
    """A class or function: ``known[name]``, or imported from ``package.module:name``.

    What is known may be such a path itself. Raises UserError where there is no part of
    this name; ``where`` is the option that gives it.
    """
    part = known.get(name, name)
    if not isinstance(part, str):
        return part
    module_name, _, attribute = part.partition(":")
    if not (module_name and attribute):
        raise UserError(
            f"{where}: choose one of {', '.join(known)}, or your own as "
            "package.module:name"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        raise UserError(
            f"{where}: {e}; is the folder that holds it in PYTHONPATH?"
        ) from e
    if not hasattr(module, attribute):
        hint = nearest(attribute, vars(module))
        raise UserError(f"{where}: {module_name} has no {attribute}: {hint}")
    return getattr(module, attribute)
