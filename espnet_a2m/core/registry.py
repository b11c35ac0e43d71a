"""Parts of the user's own, by ``package.module:name``."""

from __future__ import annotations

import importlib
from typing import Any

from espnet_a2m.core.config import nearest
from espnet_a2m.core.errors import UserError


def load_object(path: str, where: str) -> Any:
    """Import a class or function ``package.module:name``.

    Raises UserError where there is none; ``where`` is the option that gives it.
    """
    module_name, _, name = path.partition(":")
    if not (module_name and name):
        raise UserError(f"{where}: {path!r} is not of the form package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        raise UserError(
            f"{where}: {e}; is the folder that holds it in PYTHONPATH?"
        ) from e
    if not hasattr(module, name):
        raise UserError(
            f"{where}: {module_name} has no {name}: {nearest(name, vars(module))}"
        )
    return getattr(module, name)
