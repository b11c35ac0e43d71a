"""Recover an experiment directory after an interrupted run.

ESPnet ends an epoch by writing ``checkpoint.pth`` in place, then ``<N>epoch.pth``, then
the links to the latest and best models. An interruption can truncate either file or
come before the links; ESPnet then fails at once, or only when it averages models at the
very end. Beside these we keep the ``checkpoint.pth`` of the previous epoch and the
state between two updates (`mid_epoch_checkpoint`), both written atomically.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import atomic_writer

CHECKPOINT = "checkpoint.pth"
BACKUP = "checkpoint.previous.pth"
UPDATE = "checkpoint.update.pth"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What torch.save says of a full disk when it opens the file itself
SAVE_FAILED = ("PytorchStreamWriter", "unexpected pos")


def is_complete(path: Path) -> bool:
    """Whether ``torch.save`` finished ``path``, a zip file with its directory last."""
    return path.is_file() and zipfile.is_zipfile(path)


def atomic_copy(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    with source.open("rb") as file, atomic_writer(target) as stream:
        shutil.copyfileobj(file, stream)


def atomic_save(content: Any, target: Path) -> None:
    """``torch.save`` a file atomically."""
    with atomic_writer(target) as stream:
        torch.save(content, stream)


@contextlib.contextmanager
def explain_full_disk(output_dir: Path) -> Iterator[None]:
    """Say what to do when a checkpoint does not fit on the disk.

    Raises:
        UserError: In place of the error of a full disk; others pass.
    """
    try:
        yield
    except (OSError, RuntimeError) as e:
        is_full = getattr(e, "errno", None) in DISK_FULL
        if not is_full and not any(text in str(e) for text in SAVE_FAILED):
            raise
        free = shutil.disk_usage(output_dir).free / 1e6
        raise UserError(
            f"{output_dir}: the state of the training run could not be saved ({e}); "
            f"{free:.0f} MB are free there. Free some space and rerun the command: it "
            "resumes from the last complete checkpoint"
        ) from e


def back_up_checkpoint(output_dir: Path) -> None:
    """Keep the last complete ``checkpoint.pth``, which ESPnet writes over in place."""
    if is_complete(output_dir / CHECKPOINT):
        atomic_copy(output_dir / CHECKPOINT, output_dir / BACKUP)


def recover_checkpoint(output_dir: Path) -> None:
    """Make ESPnet able to resume from an experiment directory.

    A truncated ``checkpoint.pth`` is replaced by the backup, or removed if there is
    none: training then starts from scratch, or from the last update saved in the first
    epoch. The epoch's model and links are written if they are missing.
    """
    for unfinished in output_dir.glob(".*.pth.*"):  # of atomic_writer
        unfinished.unlink()
    checkpoint, backup = output_dir / CHECKPOINT, output_dir / BACKUP
    if not is_complete(checkpoint):
        if is_complete(backup):
            logging.warning(f"{checkpoint} is incomplete: resuming from {backup.name}")
            atomic_copy(backup, checkpoint)
        elif checkpoint.exists():
            logging.warning(f"{checkpoint} is incomplete: removed")
            checkpoint.unlink()
    if checkpoint.exists():
        finalize_epoch(output_dir)


def finalize_epoch(output_dir: Path) -> None:
    """Write ``<N>epoch.pth`` and the links of the epoch that is in the checkpoint."""
    from espnet2.train.reporter import Reporter

    # our own file, which ESPnet will load in the same way
    states = torch.load(output_dir / CHECKPOINT, "cpu", weights_only=False)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    model = output_dir / f"{epoch}epoch.pth"
    if not is_complete(model):
        atomic_save(states["model"], model)
    links = ["latest.pth"]
    config = yaml.safe_load((output_dir / "config.yaml").read_text(encoding="utf-8"))
    for phase, key, mode in config["best_model_criterion"]:
        is_known = reporter.has(phase, key)
        if is_known and reporter.get_best_epoch(phase, key, mode) == epoch:
            links.append(f"{phase}.{key}.best.pth")
    for name in links:
        (output_dir / name).unlink(missing_ok=True)
        (output_dir / name).symlink_to(model.name)
