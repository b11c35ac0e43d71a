"""Rows of the speed table: what was measured, and how it stands to its target."""

from __future__ import annotations

import dataclasses
import statistics

from benchmarks.timing import ratios

HEADER = ("what", "at", "against", "ours", "theirs", "ratio (range)", "target", "")


@dataclasses.dataclass
class Row:
    """One comparison.

    Attributes:
        what: What is measured.
        at: Sizes.
        against: The peer.
        ours: Median of ours, in ``unit``.
        theirs: Median of the peer's.
        unit: Of both medians.
        ratio: ``theirs / ours``, or ``ours / theirs`` where ``at_most``.
        low: Smallest ratio of one round.
        high: Largest ratio of one round.
        target: What the ratio shall be; None where nothing is asked for.
        at_most: The ratio is a cost with an upper bound; otherwise a gain with a
            lower one.
    """

    what: str
    at: str
    against: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    low: float
    high: float
    target: float | None
    at_most: bool = False

    @classmethod
    def compare(
        cls,
        what: str,
        at: str,
        against: str,
        ours: list[float],
        theirs: list[float],
        target: float | None,
        *,
        unit: str = "ms",
        scale: float = 1e3,
        at_most: bool = False,
    ) -> Row:
        """Make a row of samples that were taken in turns.

        ``scale`` turns samples into ``unit``; by default seconds into ms.
        """
        over, under = (ours, theirs) if at_most else (theirs, ours)
        ratio, low, high = ratios(over, under)
        return cls(
            what,
            at,
            against,
            statistics.median(ours) * scale,
            statistics.median(theirs) * scale,
            unit,
            ratio,
            low,
            high,
            target,
            at_most,
        )

    @property
    def met(self) -> bool:
        """Whether the ratio of the medians meets the target."""
        if self.target is None:
            return True
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def cells(self) -> tuple[str, ...]:
        """The row's text, as in ``HEADER``."""
        ratio, target, verdict = _times(self.ratio), "", ""
        if self.low < self.high:
            ratio += f" ({_times(self.low)}-{_times(self.high)})"
        if self.target is not None:
            bound = "at most" if self.at_most else "at least"
            target = f"{bound} {_times(self.target)}"
            verdict = "pass" if self.met else "FAIL"
        return (
            self.what,
            self.at,
            self.against,
            f"{_digits(self.ours)} {self.unit}",
            f"{_digits(self.theirs)} {self.unit}",
            ratio,
            target,
            verdict,
        )


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(ratio: float) -> str:
    return f"{ratio:.3f}x" if 0.5 < ratio < 2 else f"{_digits(ratio)}x"


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table that is legible as plain text, too."""
    lines = [HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    text = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths)) + " |"
        for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(text)
