"""The batches of an epoch, with what is to happen after each step."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from espnet2.train.reporter import SubReporter

Batch = dict[str, torch.Tensor]


def without_first(batches: Iterable, count: int) -> Iterable:
    """Leave out the first ``count`` batches of an epoch.

    Those of ESPnet's usual iterators and of splits are not even read from the disk.
    """
    if count == 0:
        return batches
    if hasattr(batches, "without_first"):
        return batches.without_first(count)
    if isinstance(batches, torch.utils.data.DataLoader):
        sampler = batches.batch_sampler
        if isinstance(sampler, Sequence):
            return torch.utils.data.DataLoader(
                batches.dataset,
                batch_sampler=sampler[count:],
                num_workers=batches.num_workers,
                collate_fn=batches.collate_fn,
                pin_memory=batches.pin_memory,
                worker_init_fn=batches.worker_init_fn,
            )
    return itertools.islice(batches, count, None)


class Steps:
    """Iterates over the batches of an epoch and looks at each step when it is done.

    ESPnet's trainer takes a batch, makes its step and reports it before it asks for the
    next batch: what is called then sees the step's statistics on the host.

    Args:
        batches: (utterance ids, batch) pairs.
        length: Batches in the whole epoch, or None if not known.
        before_first: Called once, when the iteration has begun (which draws a random
            number) and before the first batch is read.
        after_step: Each is called with the ids and the batch of the step before.
    """

    def __init__(
        self,
        batches: Iterable,
        length: int | None,
        before_first: Callable[[], None],
        after_step: Sequence[Callable[[Sequence[str], Batch], None]],
    ):
        self.batches = batches
        self.length = length
        self.before_first = before_first
        self.after_step = after_step

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("the number of batches is not known")
        return self.length

    def __iter__(self) -> Iterator[tuple[list[str], Batch]]:
        iterator = iter(self.batches)
        self.before_first()
        for utt_ids, batch in iterator:
            yield utt_ids, batch
            for call in self.after_step:
                call(utt_ids, batch)


class Throughput:
    """Reports the seconds of audio that are trained on per second.

    The clock runs from one batch to the next, data loading included; what a step took
    is reported with the step after it.
    """

    def __init__(self, batches: Iterable, reporter: SubReporter, fs: int):
        self.batches = batches
        self.reporter = reporter
        self.fs = fs

    def __iter__(self) -> Iterator[Any]:
        return self._timed(iter(self.batches))

    def _timed(self, iterator: Iterator) -> Iterator[Any]:
        start = time.perf_counter()
        audio = None
        for utt_ids, batch in iterator:
            now = time.perf_counter()
            if audio is not None:
                self.reporter.register({"audio_per_sec": audio / (now - start)})
                start = now
            audio = int(batch["speech_lengths"].sum()) / self.fs
            yield utt_ids, batch
