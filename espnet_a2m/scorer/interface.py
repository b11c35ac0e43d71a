"""Old name of :mod:`espnet_a2m.confidence.interface`."""

import warnings

from espnet_a2m.confidence.interface import Scorer

__all__ = ["Scorer"]

warnings.warn(
    "espnet_a2m.scorer.interface is now espnet_a2m.confidence.interface",
    FutureWarning,
    stacklevel=2,
)
