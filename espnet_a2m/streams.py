"""Checks of the streams of a data set before ESPnet reads them."""

from __future__ import annotations

from collections.abc import Iterable

from espnet_a2m.errors import DataError, few
from espnet_a2m.kaldi_ark import check_entries
from espnet_a2m.kaldi_table import is_command, read_scp


def check_streams(streams: Iterable[tuple[str, str, str]]) -> None:
    """Refuse streams that lack utterances of the first one, or hold what would be run.

    ESPnet gives the entries of a stream of type ``kaldi_ark`` to kaldiio, which runs
    commands and unpickles; so they must be whole arrays or audio in files.

    Args:
        streams: (path, name, type) as in ``--train_data_path_and_name_and_type``,
            each path a table whose lines start with the utterance id.

    Raises:
        DataError: Names the file and the first utterances that it lacks, or the
            entry.
    """
    first: tuple[str, set[str]] | None = None
    for path, name, kind in streams:
        table = read_scp(path)
        if kind == "kaldi_ark":
            check_entries(table.values())
        commands = [utt for utt, value in table.items() if is_command(value)]
        if kind == "sound" and commands:
            raise DataError(
                f"{path}: {few(commands)}: the entry is a command (a pipe): format the "
                "audio (stage 3)"
            )
        keys = set(table)
        if first is None:
            first = (path, keys)
            continue
        missing = sorted(first[1] - keys)
        if missing:
            raise DataError(
                f"{path}: the stream {name} lacks {len(missing)} of "
                f"{len(first[1])} utterances of {first[0]}, such as "
                f"{few(missing)}: make it again from the same set"
            )
