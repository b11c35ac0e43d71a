"""What a corpus is known to hold beside what was found: a difference is a warning."""

from __future__ import annotations

import sys
from collections.abc import Mapping


def compare_counts(
    what: str, found: Mapping[str, float], published: Mapping[str, float], source: str
) -> None:
    """Warn, with both numbers, of every count that differs from the published one.

    Args:
        what: the set, as "AMI ihm train".
        found: what is here, such as {"utterances": 105149, "hours": 77.9}; numbers are
            compared at the precision that the published one has.
        published: what should be, for the counts that anybody has published.
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
