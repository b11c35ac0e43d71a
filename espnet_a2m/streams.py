"""Checks that the streams of a data set hold the same utterances."""

from __future__ import annotations

from collections.abc import Iterable

from espnet_a2m.errors import DataError
from espnet_a2m.kaldi_table import read_scp


def check_streams(streams: Iterable[tuple[str, str, str]]) -> None:
    """Refuse streams that lack utterances of the first one.

    Args:
        streams: (path, name, type) as in ``--train_data_path_and_name_and_type``,
            each path a table whose lines start with the utterance id.

    Raises:
        DataError: Names the file and the first utterances that it lacks.
    """
    first: tuple[str, set[str]] | None = None
    for path, name, _ in streams:
        keys = set(read_scp(path))
        if first is None:
            first = (path, keys)
            continue
        missing = sorted(first[1] - keys)
        if missing:
            raise DataError(
                f"{path}: the stream {name} lacks {len(missing)} of "
                f"{len(first[1])} utterances of {first[0]}, such as "
                f"{', '.join(missing[:3])}: make it again from the same set"
            )
