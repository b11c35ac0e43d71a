"""Options that change linearly over the updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: A constant, or the value of a schedule: 0-dim, on the device.
Scalar = float | Tensor
#: What an option may be, in words and as a test.
Range = tuple[str, Callable[[float], bool]]
#: Updates at which annealed options have their last value, as outside training
ANNEALED = torch.tensor(2**40)


class LinearSchedule(NamedTuple):
    """From ``start`` to ``end`` over ``updates`` updates, constant from there on."""

    start: float
    end: float
    updates: float

    def __call__(self, updates: Tensor) -> Tensor:
        """Value, a 0-dim tensor on the device of ``updates`` (0-dim): no host sync."""
        done = (updates / self.updates).clamp(0.0, 1.0)
        value = self.start + (self.end - self.start) * done
        # rounding must not pass the extremes that the host knows
        return value.clamp(min(self.start, self.end), max(self.start, self.end))


class AnnealedOptions:
    """Options that are constants or follow a schedule.

    Args:
        where: The configuration key they are in, for messages.
        constants: Option -> value; None is an option that is off.
        ranges: Option -> what its value may be; the same options.
        anneal: Option -> [start, end, updates] in place of its constant.

    Raises ValueError: a value is out of its range, or ``anneal`` is malformed.
    """

    def __init__(
        self,
        where: str,
        constants: Mapping[str, float | None],
        ranges: Mapping[str, Range],
        anneal: Mapping[str, Sequence[float]] | None,
    ):
        self.constants = dict(constants)
        self.schedules: dict[str, LinearSchedule] = {}
        for name, given in (anneal or {}).items():
            if name not in ranges:
                raise ValueError(
                    f"{where}: anneal: {name!r} is none of {', '.join(ranges)}"
                )
            match given:
                case [int() | float(), int() | float(), int() | float() as n] if n > 0:
                    self.schedules[name] = LinearSchedule(*map(float, given))
                case _:
                    raise ValueError(
                        f"{where}: anneal: {name}={given!r} is not [start, end, "
                        "updates], three numbers with updates above 0"
                    )
        for name, (wanted, fits) in ranges.items():
            for value in self._ends(name):
                if not fits(value):
                    raise ValueError(f"{where}: {name}={value} is not {wanted}")

    def _ends(self, name: str) -> Sequence[float]:
        """All extreme values of an option; none if it is off."""
        if name in self.schedules:
            return self.schedules[name][:2]
        constant = self.constants[name]
        return [] if constant is None else [constant]

    def maximum(self, name: str) -> float:
        """The largest value that an option ever has."""
        return max(self._ends(name))

    def is_off(self, name: str) -> bool:
        """Whether an option has no value."""
        return not self._ends(name)

    def at(self, name: str, updates: Tensor) -> Scalar:
        """Value of an option after ``updates`` (0-dim); a tensor if it is annealed.

        Raises ValueError: the option is off.
        """
        if name in self.schedules:
            return self.schedules[name](updates)
        constant = self.constants[name]
        if constant is None:
            raise ValueError(f"option {name} is off")
        return constant
