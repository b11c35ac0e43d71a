"""The batches of a training set in parts (``--multiple_iterator``), from any on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.multiple_iter_factory import MultipleIterFactory

from espnet_a2m.training.steps import without_first


class SplitBatches:
    """Batches of one split after the other.

    Args:
        builders: Make each split's batches, when it is its turn.
        count: Batches to leave out; splits of which all are left out are only counted,
            and of the next one nothing is read but the rest.
    """

    def __init__(self, builders: list[Callable[[], Any]], count: int = 0):
        self.builders = builders
        self.count = count

    def without_first(self, count: int) -> SplitBatches:
        """The same from ``count`` batches on."""
        return SplitBatches(self.builders, count)

    def __iter__(self) -> Iterator:
        left = self.count
        for number, build in enumerate(self.builders):
            if not left:
                return self._from(number)
            batches = build()
            if left < len(batches):
                # now: to begin draws a random number, as it did before the kill
                return self._from(number + 1, iter(without_first(batches, left)))
            left -= len(batches)
        return iter(())

    def _from(self, number: int, first: Iterable = ()) -> Iterator:
        yield from first
        for build in self.builders[number:]:
            yield from build()


class SplitIterFactory(MultipleIterFactory):
    """ESPnet's iterator over splits, whose epochs can be begun anywhere."""

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Any:
        """`SplitBatches` of an epoch: ESPnet's splits, in ESPnet's order."""
        shuffle = self.shuffle if shuffle is None else shuffle
        funcs = list(self.build_funcs)
        if shuffle:
            np.random.RandomState(epoch + self.seed).shuffle(funcs)

        def builder(func: Callable[[], AbsIterFactory]) -> Callable[[], Any]:
            return lambda: func().build_iter(epoch, shuffle)

        return SplitBatches([builder(func) for func in funcs])
