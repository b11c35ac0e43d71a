"""Statistics per epoch, read from ESPnet's checkpoint."""

from __future__ import annotations

import datetime
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.core.errors import UserError
from espnet_a2m.training.checkpoint import BACKUP, CHECKPOINT, is_complete


def read_stats(experiment: str | Path) -> dict[int, dict[str, dict[str, Any]]]:
    """Epoch -> ``train`` or ``valid`` -> statistic -> value, of an experiment.

    Args:
        experiment: Folder with ``checkpoint.pth``; where an interruption truncated it,
            ``checkpoint.previous.pth`` is read.

    Raises:
        UserError: There is no complete checkpoint, or it is not ESPnet's.
    """
    folder = Path(experiment)
    path = next((p for n in (CHECKPOINT, BACKUP) if is_complete(p := folder / n)), None)
    if path is None:
        raise UserError(
            f"{folder}: no {CHECKPOINT}, or it is incomplete: train it first (ESPnet "
            "writes it at the end of each epoch)"
        )
    # Only tensors and these types are unpickled; mmap leaves the parameters on disk.
    scalar = np.float64(0.0).__reduce__()[0]  # how numpy's scalars are pickled
    allowed: list[Any] = [datetime.timedelta, defaultdict, dict, scalar, np.dtype]
    allowed += [type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8")]
    try:
        with torch.serialization.safe_globals(allowed):
            states = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        stats = states["reporter"]["stats"]
        return {int(epoch): dict(parts) for epoch, parts in stats.items()}
    except Exception as e:
        raise UserError(
            f"{path}: not a checkpoint of ESPnet's trainer ({type(e).__name__}: {e})"
        ) from e
