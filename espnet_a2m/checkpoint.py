"""Checkpoints that survive a kill: whole, or the one before."""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from pathlib import Path

CHECKPOINT = "checkpoint.pth"
BACKUP = "checkpoint.previous.pth"


def is_whole(path: Path) -> bool:
    """Whether ``torch.save`` finished writing ``path``.

    It writes a zip archive, whose directory comes last.
    """
    return path.is_file() and zipfile.is_zipfile(path)


def restore_checkpoint(output_dir: Path) -> None:
    """Put back the previous checkpoint where the last one was cut off."""
    checkpoint, backup = output_dir / CHECKPOINT, output_dir / BACKUP
    if is_whole(checkpoint) or not (checkpoint.exists() or backup.exists()):
        return
    if is_whole(backup):
        logging.warning(f"{checkpoint} is incomplete: resuming from {backup.name}")
        copy_whole(backup, checkpoint)
    else:
        logging.warning(f"{checkpoint} is incomplete: training starts anew")
        checkpoint.unlink()


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is never seen half-written."""
    temporary = target.with_suffix(".tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)
