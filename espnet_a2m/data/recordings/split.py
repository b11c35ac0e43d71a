"""Division of own recordings into sets."""

from __future__ import annotations

import hashlib

from espnet_a2m.core.errors import UserError
from espnet_a2m.data.recordings.items import Utterance

LARGEST_EXCESS = 1.5  # times what a set still wants, of a recording or a speaker


def split(
    utterances: list[Utterance], shares: dict[str, float], by: str, seed: int
) -> dict[str, list[Utterance]]:
    """Name of a set -> its utterances; "" is what is not held out.

    Recordings, or with ``by`` = "speaker" speakers, are held out until a set has its
    share of the seconds; which ones depends on their names and the seed alone. Only
    those with transcripts are, if there are any.

    Raises UserError where there are too few to divide.
    """
    has_text = any(u.text is not None for u in utterances)
    groups: dict[str, list[Utterance]] = {}
    for u in utterances:
        groups.setdefault(u.speaker if by == "speaker" else u.audio, []).append(u)
    usable = [
        name
        for name, members in groups.items()
        if not has_text or all(u.text is not None for u in members)
    ]
    seconds = {name: sum(u.seconds for u in groups[name]) for name in usable}
    usable.sort(key=lambda x: hashlib.sha256(f"{seed} {x}".encode()).digest())
    sets: dict[str, list[Utterance]] = {}
    total = sum(seconds.values())
    for set_name, share in shares.items():
        wanted = share * total
        # one that would be far too much stays in the pool
        for name in usable:
            if name in groups and seconds[name] <= LARGEST_EXCESS * wanted:
                sets.setdefault(set_name, []).extend(groups.pop(name))
                wanted -= seconds[name]
            if wanted <= 0:
                break
    sets[""] = [u for members in groups.values() for u in members]
    if empty := [f"--{name}" for name in shares if name not in sets]:
        least = min(seconds.values(), default=total) / max(total, 1e-9)
        raise UserError(
            f"{' and '.join(empty)}: too few to hold out: of {len(usable)} {by}s"
            f"{' with transcripts for all they have' if has_text else ''} the shortest "
            f"has {least:.3f} of the time: give a larger share, or 0"
        )
    if not sets[""] or (has_text and not any(u.text for u in sets[""])):
        raise UserError(
            f"--valid and --test leave nothing: there are too few --split_by {by}"
        )
    return sets
