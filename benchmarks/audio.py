"""Audio to measure with: noise, whose content costs what speech would cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from espnet_a2m.data.tables import write_table

FS = 16000


def noise(batch: int, seconds: float) -> torch.Tensor:
    """(B, N) float32, at the level of speech."""
    generator = torch.Generator().manual_seed(1)
    return 0.05 * torch.randn(batch, int(seconds * FS), generator=generator)


def write_data_dir(root: Path, batch: int, seconds: float) -> None:
    """A data directory of ``batch`` FLAC files of noise."""
    table = {}
    for i, row in enumerate(noise(batch, seconds)):
        path = root / f"utterance{i:03d}.flac"
        soundfile.write(path, np.asarray(row), FS)
        table[path.stem] = path
    write_table(root / "wav.scp", table)
