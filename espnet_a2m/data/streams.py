"""Checks of the streams of a data set before ESPnet reads them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.core.files import with_filename
from espnet_a2m.data.archives import checked_entries
from espnet_a2m.data.audio import audio_info
from espnet_a2m.data.datadir import iter_audio
from espnet_a2m.data.tables import iter_scp, join_utterances

Stream = tuple[str, str, str]
MOST_OPENED = 1000  # files


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


def check_rate(streams: Iterable[Stream], fs: int) -> None:
    """Refuse speech of another sampling rate than ``fs`` Hz, before it is trained on.

    ESPnet reads the samples and forgets their rate. Of a large set about `MOST_OPENED`
    files are opened, evenly spread.

    Raises:
        DataError: Files of another rate, or that cannot be read.
    """
    for path, name, kind in streams:
        if (name, kind) != ("speech", "sound"):
            continue
        with with_filename(path), open(path, "rb") as stream:
            size, line = os.fstat(stream.fileno()).st_size, len(stream.readline())
        step = max(1, size // (max(1, line) * MOST_OPENED))
        wrong, opened = Preview(), 0
        for utt_id, source in itertools.islice(iter_audio(path), 0, None, step):
            opened += 1
            if (rate := audio_info(source).rate) != fs:
                wrong.add(f"utterance {utt_id} ({rate} Hz)")
        if wrong.count:
            raise DataError(
                f"{path}: {wrong.count} of {opened} files have another sampling rate "
                f"than frontend_conf.fs, {fs} Hz: {wrong}: format the audio with "
                f"--fs {fs} (bin.data format_wav)"
            )


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
