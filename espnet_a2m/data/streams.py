"""Checks of the streams of a data set before ESPnet reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.archives import checked_entries
from espnet_a2m.data.datadir import iter_audio
from espnet_a2m.data.tables import iter_scp, join_utterances

Stream = tuple[str, str, str]


def splits(streams: Iterable[Stream]) -> Iterator[list[Stream]]:
    """The streams (path, name, type) of each split of ESPnet's --multiple_iterator.

    Each path must be a folder that ``espnet2.bin.split_scps`` has written.
    """
    streams = list(streams)
    counts = set()
    for path, *_ in streams:
        try:
            counts.add(int((Path(path) / "num_splits").read_text()))
        except (OSError, ValueError):
            raise DataError(
                f"{path}: not a folder that espnet2.bin.split_scps has written, as "
                "--multiple_iterator wants it"
            ) from None
    if len(counts) > 1:
        raise DataError(
            f"{streams[0][0]}, ...: split into {sorted(counts)} parts: split all alike"
        )
    for number in range(max(counts, default=0)):
        yield [(f"{path}/split.{number}", name, kind) for path, name, kind in streams]


def check_streams(streams: Iterable[Stream]) -> None:
    """Refuse streams that miss utterances of the first one, or hold commands.

    ESPnet gives the entries of a stream of type ``kaldi_ark`` to kaldiio, which runs
    commands and unpickles; so they must be complete arrays or audio in files.

    Args:
        streams: (path, name, type) as in ``--train_data_path_and_name_and_type``,
            each path a table whose lines start with the utterance id.
    """
    tables: list[tuple[str, Iterable[tuple[str, str]]]] = []
    for path, _, kind in streams:
        table = iter_audio(path) if kind == "sound" else iter_scp(path)
        tables.append((path, checked_entries(table) if kind == "kaldi_ark" else table))
    for _ in join_utterances(tables, "make it again from the same set"):
        pass
