"""The batches of an epoch: from any batch on, and with callbacks around each step."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from espnet2.iterators.multiple_iter_factory import MultipleIterFactory
from espnet2.train.reporter import SubReporter

Batch = dict[str, torch.Tensor]
Callback = Callable[[Sequence[str], Batch], None]


def skip_batches(batches: Iterable, count: int) -> Iterable:
    """Leave out the first ``count`` batches of an epoch.

    Those of ESPnet's usual iterators and of splits are not even read from the disk.
    """
    if count == 0:
        return batches
    if isinstance(batches, SplitBatches):
        return SplitBatches(batches.builders, count)
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


class SplitBatches:
    """Batches of one split of the training set after the other, but the first ``skip``.

    ``builders`` build each split's batches when it is its turn. Splits that are skipped
    altogether are only counted, and of the next one only the rest is read.
    """

    def __init__(self, builders: Sequence[Callable[[], Any]], skip: int = 0):
        self.builders = builders
        self.skip = skip

    def __iter__(self) -> Iterator:
        left, rest = self.skip, list(self.builders)
        first: Iterator = iter(())
        while left and rest:
            batches = rest.pop(0)()
            if left < len(batches):
                # iter() here, not later: it draws a random number, which must come
                # before the random state is restored
                first = iter(skip_batches(batches, left))
            left -= min(left, len(batches))
        splits = (build() for build in rest)
        return itertools.chain(first, itertools.chain.from_iterable(splits))


class SplitIterFactory(MultipleIterFactory):
    """ESPnet's iterator over splits (``--multiple_iterator``), able to resume."""

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> SplitBatches:
        """The batches of an epoch: ESPnet's splits in ESPnet's order."""
        shuffle = self.shuffle if shuffle is None else shuffle
        funcs = list(self.build_funcs)
        if shuffle:
            np.random.RandomState(epoch + self.seed).shuffle(funcs)

        def batches(func: Callable[[], Any]) -> Any:
            return func().build_iter(epoch, shuffle)

        return SplitBatches([functools.partial(batches, func) for func in funcs])


class StepCallbacks:
    """Iterates over the batches of an epoch and calls back around each step.

    ESPnet's trainer takes a batch, makes its step and reports it before it asks for the
    next batch: what is called after a step sees its statistics on the host.

    Args:
        batches: (utterance ids, batch) pairs, with which callbacks are called, too.
        length: Batches in the epoch, skipped ones included, or None if not known.
        on_start: Called once, after ``iter(batches)`` (which draws a random number) and
            before the first batch is read.
        before_step, after_step: Called for each batch.
    """

    def __init__(
        self,
        batches: Iterable,
        length: int | None,
        on_start: Callable[[], None],
        before_step: Sequence[Callback],
        after_step: Sequence[Callback],
    ):
        self.batches = batches
        self.length = length
        self.on_start = on_start
        self.before_step = before_step
        self.after_step = after_step

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("the number of batches is not known")
        return self.length

    def __iter__(self) -> Iterator[tuple[list[str], Batch]]:
        iterator = iter(self.batches)
        self.on_start()
        for utt_ids, batch in iterator:
            for call in self.before_step:
                call(utt_ids, batch)
            yield utt_ids, batch
            for call in self.after_step:
                call(utt_ids, batch)


class SmallBatches:
    """Callback: warns where batches have one utterance, of which models learn little.

    Batches are alike: the first ``WATCHED`` are looked at.
    """

    WATCHED = 50

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, utt_ids: Sequence[str], batch: Batch) -> None:
        """Count the utterances of a batch."""
        if len(self.sizes) == self.WATCHED:
            return
        self.sizes.append(len(utt_ids))
        if len(self.sizes) == self.WATCHED and np.median(self.sizes) <= 1:
            logging.warning(
                "Most batches have one utterance, which may do more harm than good: "
                "raise batch_bins, which counts utterances before they are cropped, or "
                "cut the utterances shorter (docs/experiments/2026-11-28-raw-pool.md)"
            )


class Throughput:
    """Callback: reports the seconds of audio that are trained on per second.

    The clock runs from one batch to the next, data loading included; what a step took
    is reported with the step after it.
    """

    def __init__(self, reporter: SubReporter, fs: int):
        self.reporter = reporter
        self.fs = fs
        self.start: float | None = None
        self.audio = 0.0

    def __call__(self, utt_ids: Sequence[str], batch: Batch) -> None:
        """Report the step before the one of this batch."""
        now = time.perf_counter()
        if self.start is not None:
            self.reporter.register({"audio_per_sec": self.audio / (now - self.start)})
        self.start = now
        self.audio = int(batch["speech_lengths"].sum()) / self.fs
