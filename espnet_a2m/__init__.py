"""Ask2Mask: guided masking for self-supervised speech models in ESPnet.

``import espnet_a2m as a2m`` has the names of ``__all__``, each imported when it is
first used: docs/python.md.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Confidence",
    "Encoder",
    "Features",
    "draw_masks",
    "load_scorer",
    "mask_time_indices",
    "plot",
    "score",
    "score_folder",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("espnet_a2m.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
