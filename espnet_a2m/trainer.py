"""ESPnet's trainer, plus throughput and a checkpoint that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.reporter import SubReporter
from espnet2.train.trainer import Trainer

from espnet_a2m.checkpoint import (
    BACKUP,
    CHECKPOINT,
    copy_whole,
    is_whole,
    repair,
)


class TimedIterator:
    """Reports the seconds of audio that are trained on per second.

    The clock runs from one batch to the next, data loading included.
    """

    def __init__(self, iterator: Iterable, reporter: SubReporter, fs: int):
        self.iterator = iterator
        self.reporter = reporter
        self.fs = fs

    def __len__(self) -> int:
        return len(self.iterator)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator:
        start = time.perf_counter()
        audio = None
        for utt_id, batch in self.iterator:
            now = time.perf_counter()
            if audio is not None:
                self.reporter.register({"audio_per_sec": audio / (now - start)})
                start = now
            audio = int(batch["speech_lengths"].sum()) / self.fs
            yield utt_id, batch


class A2MTrainer(Trainer):
    """Trainer of :class:`espnet_a2m.task.A2MTask`."""

    @classmethod
    def run(
        cls,
        model: torch.nn.Module,
        trainer_options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> None:
        """Train all epochs, from the last whole checkpoint on."""
        if distributed_option.dist_rank in (None, 0):
            repair(Path(trainer_options.output_dir))
        if distributed_option.distributed:
            torch.distributed.barrier()  # nobody resumes before it is repaired
        super().run(
            model=model,
            trainer_options=trainer_options,
            distributed_option=distributed_option,
            **kwargs,
        )

    @classmethod
    def train_one_epoch(
        cls,
        model: torch.nn.Module,
        iterator: Iterable,
        reporter: SubReporter,
        options: Any,
        distributed_option: DistributedOption,
        **kwargs: Any,
    ) -> bool:
        """Train one epoch with a random state of its own on every process."""
        rank = distributed_option.dist_rank or 0
        checkpoint = Path(options.output_dir) / CHECKPOINT
        if rank == 0 and is_whole(checkpoint):
            # ESPnet writes checkpoint.pth in place: keep the last whole one
            copy_whole(checkpoint, checkpoint.with_name(BACKUP))
        # ESPnet seeds every process alike, which would repeat masks
        set_all_random_seed(options.seed + reporter.get_epoch() + 1000 * rank)
        inner: Any = getattr(model, "module", model)  # inside DDP or not
        return super().train_one_epoch(
            model=model,
            iterator=TimedIterator(iterator, reporter, inner.fs),
            reporter=reporter,
            options=options,
            distributed_option=distributed_option,
            **kwargs,
        )
