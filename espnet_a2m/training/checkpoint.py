"""What a kill leaves of a training directory, made whole again.

ESPnet ends an epoch by writing ``checkpoint.pth`` in place, then ``<N>epoch.pth``, then
the links to the latest and best models. A kill can cut off either file or come before
the links; ESPnet then fails at once, or only when it averages models at the very end.
Beside these we keep the ``checkpoint.pth`` of the epoch before and, written by
renaming, the state after the last so many updates (`update_checkpoint`).
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_a2m.core.errors import UserError

CHECKPOINT = "checkpoint.pth"
BACKUP = "checkpoint.previous.pth"
UPDATE = "checkpoint.update.pth"


def is_whole(path: Path) -> bool:
    """Whether ``torch.save`` finished writing ``path``.

    It writes a zip archive, whose directory comes last.
    """
    return path.is_file() and zipfile.is_zipfile(path)


def write_whole(write: Callable[[Path], object], target: Path) -> None:
    """Let ``write`` make a file so that ``target`` is never seen half-written.

    Raises:
        UserError: It could not be written; what was there before still is.
    """
    temporary = target.with_suffix(".tmp")
    try:
        write(temporary)
    except (OSError, RuntimeError) as e:  # torch.save raises the latter
        temporary.unlink(missing_ok=True)
        raise cannot_write(target.parent, e) from e
    os.replace(temporary, target)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file; see :func:`write_whole`."""
    write_whole(lambda path: shutil.copyfile(source, path), target)


def save_whole(content: Any, target: Path) -> None:
    """``torch.save`` ``content``; see :func:`write_whole`."""
    write_whole(lambda path: torch.save(content, path), target)


def cannot_write(output_dir: Path, error: Exception) -> UserError:
    """What to tell a user whose training could not be saved."""
    free = shutil.disk_usage(output_dir).free / 1e6
    return UserError(
        f"{output_dir}: the state of the training could not be written ({error}); "
        f"{free:.0f} MB are free there. Make room and run the same command again: it "
        "goes on from the last whole checkpoint"
    )


def repair(output_dir: Path) -> None:
    """Make a training directory one that ESPnet can resume from.

    A cut ``checkpoint.pth`` is replaced by the previous one where
    :class:`espnet_a2m.training.trainer.SafeTrainer` has kept it, and removed otherwise:
    training then starts anew, or from the first epoch's last saved update. The model
    and links of the epoch are made if they are missing.
    """
    checkpoint, backup = output_dir / CHECKPOINT, output_dir / BACKUP
    if not is_whole(checkpoint):
        if is_whole(backup):
            logging.warning(f"{checkpoint} is incomplete: going on from {backup.name}")
            copy_whole(backup, checkpoint)
        elif checkpoint.exists():
            logging.warning(f"{checkpoint} is incomplete: removed")
            checkpoint.unlink()
    if checkpoint.exists():
        complete_epoch(output_dir)


def link(path: Path, target: str) -> None:
    """Point the symbolic link ``path`` to ``target``."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def complete_epoch(output_dir: Path) -> None:
    """Write ``<N>epoch.pth`` and the links of the epoch that is in the checkpoint."""
    from espnet2.train.reporter import Reporter

    # our own file, which ESPnet will load in the same way
    states = torch.load(output_dir / CHECKPOINT, "cpu", weights_only=False)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    model = output_dir / f"{epoch}epoch.pth"
    if not is_whole(model):
        save_whole(states["model"], model)
    link(output_dir / "latest.pth", model.name)
    config = yaml.safe_load((output_dir / "config.yaml").read_text(encoding="utf-8"))
    for phase, key, mode in config["best_model_criterion"]:
        if not reporter.has(phase, key):
            continue
        if reporter.get_best_epoch(phase, key, mode) == epoch:
            link(output_dir / f"{phase}.{key}.best.pth", model.name)
