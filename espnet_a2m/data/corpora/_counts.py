"""Comparison of a prepared set with published counts of the corpus."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def compare_counts(
    what: str, found: Mapping[str, float], published: Mapping[str, float], source: str
) -> None:
    """Warn of every count that differs from the published one, with both numbers.

    Args:
        what: the set, as "AMI ihm train".
        found: counts such as {"utterances": 105149, "hours": 77.9}, rounded to the
            precision of the published ones.
        published: the expected counts, as far as they are published.
        source: who published them.
    """
    for name, expected in published.items():
        digits = len(repr(expected).partition(".")[2])
        value = round(found[name], digits) if digits else round(found[name])
        if value != expected:
            print(
                f"WARNING: {what}: {value:,} {name} where {expected:,} are expected "
                f"({source}): another version of the corpus, or a part of it?",
                file=sys.stderr,
            )
