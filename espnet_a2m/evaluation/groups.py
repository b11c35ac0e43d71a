"""Groups of a set's utterances: by the tables of its directory, and by length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.tables import iter_scp, read_scp
from espnet_a2m.evaluation.scored_set import ScoredDataset

#: Name of a grouping -> its groups -> their utterances
Groupings = dict[str, dict[str, list[str]]]
#: The group of utterances that a table does not have
UNKNOWN = "unknown"
#: Tables that need not be named -> what they group by
NAMES = {"lang": "language", "spk": "speaker", "gender": "sex"}


def by_table(scored: ScoredDataset, name: str) -> dict[str, str]:
    """Utterance -> group by ``utt2<name>``, or ``spk2<name>`` of its speaker.

    Raises DataError: there is neither.
    """
    path, of_speakers = (scored.data / f"{key}2{name}" for key in ("utt", "spk"))
    if path.exists():
        return {utt: group for utt, group in iter_scp(path) if utt in scored.audio}
    if not of_speakers.exists():
        raise DataError(f"{path}, which is to group the utterances, does not exist")
    groups, speakers = read_scp(of_speakers), by_table(scored, "spk")
    return {utt: groups.get(spk, UNKNOWN) for utt, spk in speakers.items()}


def by_length(utts: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Utterance -> its quartile by seconds, of (confidence, seconds)."""
    seconds = np.array([length for _, length in utts.values()])
    quartile = np.searchsorted(np.quantile(seconds, (0.25, 0.5, 0.75)), seconds)
    names = {}
    for i in set(quartile.tolist()):
        own = seconds[quartile == i]
        names[i] = f"{i + 1}: {own.min():.2f}-{own.max():.2f} s"
    return {utt: names[i] for utt, i in zip(utts, quartile.tolist())}


def read_groupings(
    scored: ScoredDataset,
    utts: Mapping[str, tuple[float, float]],
    more: Sequence[str] = (),
) -> Groupings:
    """Language, speaker and sex, where the directory has them, ``more`` and length.

    A grouping of one group, or of one utterance each, is left out, and so is one that
    is the same as another.

    Args:
        scored: The set.
        utts: Utterance -> confidence and seconds.
        more: Names of further tables, ``accent`` for ``utt2accent``.

    Raises DataError: a table of ``more`` does not exist, or cannot be read.
    """
    known = [
        name
        for name in NAMES
        if any((scored.data / f"{key}2{name}").exists() for key in ("utt", "spk"))
    ]
    tables = {name: by_table(scored, name) for name in (*known, *more)}
    groupings: Groupings = {}
    for name, group in {**tables, "length": by_length(utts)}.items():
        groups: dict[str, list[str]] = {}
        for utt in utts:
            groups.setdefault(group.get(utt, UNKNOWN), []).append(utt)
        groups = dict(sorted(groups.items()))
        if 1 < len(groups) < len(utts) and groups not in groupings.values():
            groupings[NAMES.get(name, name)] = groups
    return groupings
