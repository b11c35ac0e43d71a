"""A set's arrays and numbers, made chunk by chunk, so that a kill costs one chunk.

Each utterance has an array, kept in Kaldi archives, and one number about it. The
table of a chunk's arrays is written last and by renaming, so a chunk is either whole
or made again; the tables of the whole set appear when all chunks are there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import kaldiio
import numpy as np
from tqdm import tqdm

from espnet_a2m.errors import DataError, few, naming
from espnet_a2m.kaldi_ark import entry_end, open_regular, parse_entry
from espnet_a2m.kaldi_table import (
    read_counts,
    read_scp,
    sort_keys,
    write_atomic,
    write_table,
)

CHUNK_UTTERANCES = 500

#: Audio of a chunk (utterance -> file), and what to tell the seconds that are done
#: -> array for the archive and number of each utterance
MakeChunk = Callable[
    [dict[str, str], Callable[[float], object]],
    Mapping[str, tuple[np.ndarray, float]],
]


def read_durations(data: Path, fs: int) -> dict[str, float] | None:
    """Seconds of the utterances of a data directory; None without utt2num_samples.

    Raises:
        DataError: ``utt2num_samples`` lacks utterances of ``wav.scp``.
    """
    path = data / "utt2num_samples"
    if not path.exists():
        return None
    durations = {utt_id: count / fs for utt_id, count in read_counts(path).items()}
    if lost := [u for u in read_scp(data / "wav.scp") if u not in durations]:
        raise DataError(f"{path}: it lacks {few(lost)}: complete it, or remove it")
    return durations


def write_chunk(
    stem: Path,
    made: Mapping[str, tuple[np.ndarray, float]],
    compression_method: int | None,
) -> None:
    """Write ``<stem>.ark``, then ``<stem>.value``, then ``<stem>.scp``."""
    ark, scp = f"{stem}.ark", f"{stem}.scp"
    with naming(ark):
        kaldiio.save_ark(
            f"{ark}.tmp",
            {utt_id: made[utt_id][0] for utt_id in sort_keys(made)},
            scp=f"{scp}.tmp",
            compression_method=compression_method,
        )
    with open(f"{ark}.tmp", "rb") as file:
        os.fsync(file)  # before the table that vouches for it
    os.replace(f"{ark}.tmp", ark)
    write_table(f"{stem}.value", {u: f"{value:.6f}" for u, (_, value) in made.items()})
    table = Path(f"{scp}.tmp").read_text(encoding="utf-8")
    os.remove(f"{scp}.tmp")
    write_atomic(scp, table.replace(f"{ark}.tmp:", f"{ark}:"))


def is_whole(stem: Path, utt_ids: Sequence[str]) -> bool:
    """Are the files of a chunk there, of these utterances, and none of them cut off?"""
    try:
        table = read_scp(f"{stem}.scp")
        if list(table) != list(utt_ids) or list(read_scp(f"{stem}.value")) != utt_ids:
            return False
        path, offset = parse_entry(table[utt_ids[-1]])
        with open_regular(f"{stem}.ark") as file:
            size = os.fstat(file.fileno()).st_size
            return path == f"{stem}.ark" and entry_end(file, offset) == size
    except (DataError, ValueError):
        return False


def write_chunked_table(
    wav_scp: Path,
    output: Path,
    name: str,
    value_name: str,
    make_chunk: MakeChunk,
    made_by: Mapping[str, object],
    durations: Mapping[str, float] | None = None,
    compression_method: int | None = None,
) -> None:
    """Write ``<name>.scp`` and ``utt2<value_name>`` of a set.

    A second call with the same set and ``made_by`` only does the chunks that are
    missing; with others it starts anew.

    Args:
        wav_scp: Formatted audio of the set.
        output: Where the tables go.
        name: Of the arrays.
        value_name: Of the numbers.
        make_chunk: Makes both.
        made_by: What describes ``make_chunk``; compared with an earlier call's.
        durations: Of the utterances in seconds, for the ETA.
        compression_method: Kaldi's, of matrices; None stores them as they are.
    """
    audio = read_scp(wav_scp)
    chunks = output / "chunks"
    chunks.mkdir(parents=True, exist_ok=True)
    scp, numbers = output / f"{name}.scp", output / f"utt2{value_name}"
    content = hashlib.sha256(wav_scp.read_bytes()).hexdigest()
    state = json.dumps({**made_by, "wav_scp": content}, sort_keys=True)
    state_file = output / "made_by.json"
    if not state_file.exists() or state_file.read_bytes() != state.encode():
        for old in (*chunks.iterdir(), scp, numbers):
            old.unlink(missing_ok=True)
        write_atomic(state_file, state)

    utt_ids = list(audio)
    total = None
    if durations is not None:
        # rounded up: the sum of the parts may exceed the exact one in its last digit
        total = math.ceil(sum(durations[utt_id] for utt_id in utt_ids))
    stems = []
    with tqdm(total=total, unit="s", unit_scale=True, desc=f"{name} {output}") as bar:
        for begin in range(0, len(utt_ids), CHUNK_UTTERANCES):
            chunk = utt_ids[begin : begin + CHUNK_UTTERANCES]
            stem = chunks / f"{begin // CHUNK_UTTERANCES:06d}"
            stems.append(stem)
            if not is_whole(stem, chunk):
                part = {utt_id: audio[utt_id] for utt_id in chunk}
                write_chunk(stem, make_chunk(part, bar.update), compression_method)
            elif durations is not None:
                bar.update(sum(durations[utt_id] for utt_id in chunk))
    for target, suffix in ((numbers, "value"), (scp, "scp")):
        tables = (Path(f"{s}.{suffix}").read_text(encoding="utf-8") for s in stems)
        write_atomic(target, "".join(tables))
