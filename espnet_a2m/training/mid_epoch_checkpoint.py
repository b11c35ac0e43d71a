"""Mid-epoch checkpoints: resume from the last saved update."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from espnet2.train.reporter import SubReporter

from espnet_a2m.core.distributed import num_processes, process_rank
from espnet_a2m.training.checkpoint import UPDATE, atomic_save, is_complete


def random_state() -> dict[str, Any]:
    """State of every generator that a training step draws from."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`random_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


class Resumed(NamedTuple):
    """Where an epoch resumes."""

    batches: int  # that are done
    finished: bool  # whether these are all of the epoch
    random_state: dict[str, Any]  # of this process's generators


class MidEpochCheckpoint:
    """Saves and restores all that changes from update to update.

    ESPnet's own ``checkpoint.pth`` holds the end of an epoch with its validation.

    Args:
        output_dir: Experiment directory.
        model: The model, not wrapped in DistributedDataParallel.
        reporter: Reporter of the epoch's training.
        length: Batches in the epoch, or None if not known.
        optimizers, schedulers, scaler: As ESPnet's trainer has them.
    """

    def __init__(
        self,
        output_dir: Path,
        model: torch.nn.Module,
        reporter: SubReporter,
        length: int | None,
        optimizers: Any,
        schedulers: Any,
        scaler: Any,
    ):
        self.path = output_dir / UPDATE
        parts = {"model": model, "scaler": scaler}
        parts |= {f"optimizer{i}": x for i, x in enumerate(optimizers)}
        parts |= {f"scheduler{i}": x for i, x in enumerate(schedulers)}
        self.parts = {name: x for name, x in parts.items() if x is not None}
        self.reporter = reporter
        self.origin = {
            "epoch": reporter.get_epoch(),
            "num_batches": length,
            "num_processes": num_processes(),
        }

    def save(self, finished: bool) -> None:
        """Save the state; ``finished``: the epoch is. Every process must call it."""
        own = random_state()
        states = [own] * num_processes()
        if len(states) > 1:
            dist.all_gather_object(states, own)
        if process_rank() == 0:
            content = {
                "origin": self.origin,
                "finished": finished,
                "parts": {name: x.state_dict() for name, x in self.parts.items()},
                "stats": dict(self.reporter.stats),
                "count": self.reporter.count,
                "total_count": self.reporter.total_count,
                "random_states": states,
            }
            atomic_save(content, self.path)

    def restore(self) -> Resumed | None:
        """Load what was saved in this epoch; None where nothing was."""
        if not is_complete(self.path):
            return None
        # our own file, of the directory whose checkpoint.pth ESPnet reads likewise
        saved = torch.load(self.path, map_location="cpu", weights_only=False)
        if saved["origin"]["epoch"] != self.origin["epoch"]:
            return None  # of an epoch that is complete
        if saved["origin"] != self.origin:
            logging.warning(
                f"{self.path} was saved by a training run with {saved['origin']}, this "
                f"one has {self.origin}: the epoch starts from its beginning"
            )
            return None
        for name, part in self.parts.items():
            part.load_state_dict(saved["parts"][name])
        self.reporter.stats.update(saved["stats"])
        self.reporter.count = saved["count"]
        self.reporter.total_count = saved["total_count"]
        logging.info(
            f"The training was resumed using {self.path}: {saved['count']} of "
            f"{self.origin['num_batches']} batches of epoch {self.origin['epoch']} "
            "are done"
        )
        return Resumed(
            batches=saved["count"],
            finished=saved["finished"],
            random_state=saved["random_states"][process_rank()],
        )
