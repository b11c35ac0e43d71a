"""Checks of the streams of a data set before ESPnet reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.data.archives import checked_entries
from espnet_a2m.data.tables import is_command, iter_scp, outer_join

Stream = tuple[str, str, str]


def splits(streams: Iterable[Stream]) -> Iterator[list[Stream]]:
    """The streams of each split of ESPnet's ``--multiple_iterator``.

    Args:
        streams: (path, name, type), each path a folder that ``espnet2.bin.split_scps``
            has made.

    Raises:
        DataError: One is not.
    """
    streams = list(streams)
    counts = set()
    for path, *_ in streams:
        note = Path(path) / "num_splits"
        text = note.read_bytes().decode(errors="replace") if note.is_file() else ""
        text = text.strip()
        if not (text.isascii() and text.isdigit()):
            raise DataError(
                f"{path}: not a folder that espnet2.bin.split_scps has made, as "
                "--multiple_iterator wants it"
            )
        counts.add(int(text))
    if len(counts) > 1:
        raise DataError(
            f"{streams[0][0]}, ...: split into {sorted(counts)} parts: split all alike"
        )
    for number in range(max(counts, default=0)):
        yield [(f"{path}/split.{number}", name, kind) for path, name, kind in streams]


def check_streams(streams: Iterable[Stream]) -> None:
    """Refuse streams that lack utterances of the first one, or hold what would be run.

    ESPnet gives the entries of a stream of type ``kaldi_ark`` to kaldiio, which runs
    commands and unpickles; so they must be whole arrays or audio in files. Tables are
    read side by side, a line of each at a time.

    Args:
        streams: (path, name, type) as in ``--train_data_path_and_name_and_type``,
            each path a table whose lines start with the utterance id.

    Raises:
        DataError: Names the file and the first utterances that it lacks, or the
            entry.
    """
    streams = list(streams)
    tables: list[Iterable[tuple[str, str]]] = []
    for path, _, kind in streams:
        table = iter_scp(path)
        tables.append(checked_entries(table) if kind == "kaldi_ark" else table)
    lacks = [Preview() for _ in streams]
    commands = [Preview() for _ in streams]
    count = 0
    for utt_id, row in outer_join(tables):
        count += row[0] is not None
        for number, value in enumerate(row):
            if value is None:
                if row[0] is not None:
                    lacks[number].add(utt_id)
            elif streams[number][2] == "sound" and is_command(value):
                commands[number].add(utt_id)
    for (path, name, _), lacking, running in zip(streams, lacks, commands):
        if running.count:
            raise DataError(
                f"{path}: {running}: the entry is a command (a pipe): format the "
                "audio (stage 3)"
            )
        if lacking.count:
            raise DataError(
                f"{path}: the stream {name} lacks {lacking.count} of "
                f"{count} utterances of {streams[0][0]}, such as "
                f"{lacking}: make it again from the same set"
            )
