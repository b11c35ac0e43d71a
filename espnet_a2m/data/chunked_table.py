"""A set's arrays and numbers, made chunk by chunk, so that a kill costs one chunk.

Each utterance has an array, kept in Kaldi archives, and one number about it. The
table of a chunk's arrays is written last and by renaming, so a chunk is either whole
or made again; the tables of the whole set appear when all chunks are there.

A chunk is in ``chunks/<digest of the set and of what makes it>``, whoever makes it: any
number of jobs may do so, one after the other or at the same time, and what was made
otherwise stays whole until its tables are replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import kaldiio
import numpy as np
from tqdm import tqdm

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import (
    atomic_writer,
    file_digest,
    with_filename,
    write_atomic,
)
from espnet_a2m.data.archives import entry_end, open_regular, parse_entry
from espnet_a2m.data.chunks import WHOLE, Chunk, Durations, Share, iter_chunks
from espnet_a2m.data.tables import read_scp, sort_keys, write_table

if TYPE_CHECKING:  # it imports torch, which the last step of jobs does without
    from espnet_a2m.core.frames import FrameGrid

CHUNK_UTTERANCES = 500

#: Audio of a chunk (utterance -> file), and what to tell the seconds that are done
#: -> array for the archive and number of each utterance
MakeChunk = Callable[
    [dict[str, str], Callable[[float], object]],
    Mapping[str, tuple[np.ndarray, float]],
]


def write_chunk(
    stem: Path,
    made: Mapping[str, tuple[np.ndarray, float]],
    compression_method: int | None,
) -> None:
    """Write ``<stem>.ark``, then ``<stem>.value``, then ``<stem>.scp``."""
    ark = f"{stem}.ark"
    # a name of its own: two jobs may be at the same chunk
    temporary = stem.with_name(f".{stem.name}.{secrets.token_hex(4)}")
    try:
        with with_filename(ark):
            kaldiio.save_ark(
                f"{temporary}.ark",
                {utt_id: made[utt_id][0] for utt_id in sort_keys(made)},
                scp=f"{temporary}.scp",
                compression_method=compression_method,
            )
        with open(f"{temporary}.ark", "rb") as file:
            os.fsync(file)  # before the table that vouches for it
        os.replace(f"{temporary}.ark", ark)
        table = Path(f"{temporary}.scp").read_text(encoding="utf-8")
    finally:
        for suffix in ("ark", "scp"):
            Path(f"{temporary}.{suffix}").unlink(missing_ok=True)
    write_table(f"{stem}.value", {u: f"{value:.6f}" for u, (_, value) in made.items()})
    write_atomic(f"{stem}.scp", table.replace(f"{temporary}.ark:", f"{ark}:"))


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


def chunk_folder(output: Path, state: str) -> Path:
    """Where the chunks of a set go that are made as ``state`` says."""
    return output / "chunks" / hashlib.sha256(state.encode()).hexdigest()[:12]


def write_chunked_table(
    wav_scp: Path,
    output: Path,
    name: str,
    value_name: str,
    make_chunk: MakeChunk,
    made_by: Mapping[str, object],
    grid: FrameGrid,
    durations: Durations | None = None,
    compression_method: int | None = None,
    share: Share = WHOLE,
) -> None:
    """Write ``<name>.scp``, ``utt2<value_name>`` and ``grid.json`` of a set.

    A second call with the same set, ``made_by`` and ``grid`` only does the chunks that
    are missing; with others it starts anew, and replaces what was there when all is
    made. One of several jobs makes its chunks only; `put_together` is for when all have
    done so.

    Args:
        wav_scp: Formatted audio of the set.
        output: Where the tables go.
        name: Of the arrays.
        value_name: Of the numbers.
        make_chunk: Makes both.
        made_by: What describes ``make_chunk``; compared with an earlier call's.
        grid: Where the frames of the arrays are.
        durations: Of the utterances in seconds, for the ETA.
        compression_method: Kaldi's, of matrices; None stores them as they are.
        share: What of the set is made.

    Raises:
        DataError: Another call for ``output``, begun since, makes it otherwise.
    """
    all_of_it = {**made_by, "grid": vars(grid), "wav_scp": file_digest(wav_scp)}
    state = json.dumps(all_of_it, sort_keys=True)
    folder = chunk_folder(output, state)
    folder.mkdir(parents=True, exist_ok=True)
    state_file = output / "made_by.json"
    if not state_file.exists() or state_file.read_bytes() != state.encode():
        write_atomic(state_file, state)

    seconds = [
        chunk.seconds for chunk in iter_chunks(wav_scp, durations, CHUNK_UTTERANCES)
    ]
    own = share.chunks(len(seconds))
    total = None
    if durations is not None:
        # rounded up: the sum of the parts may exceed the exact one in its last digit
        total = math.ceil(sum(seconds[own.start : own.stop]))
    progress = f"{name} {output}" + share.title
    with tqdm(total=total, unit="s", unit_scale=True, desc=progress) as bar:
        for chunk in iter_chunks(wav_scp, durations, CHUNK_UTTERANCES):
            if chunk.number not in own:
                continue
            stem = chunk.stem(folder)
            if is_whole(stem, sort_keys(chunk.audio)):
                bar.update(chunk.seconds)
            else:
                made = make_chunk(chunk.audio, bar.update)
                write_chunk(stem, made, compression_method)
    if state_file.read_bytes() != state.encode():
        raise DataError(
            f"{output}: another run, begun since, makes it with other options or data: "
            "name another directory for one of them"
        )
    if share.jobs == 1:
        _write_tables(output, name, value_name, folder, len(seconds))


def put_together(
    wav_scp: Path,
    output: Path,
    name: str,
    value_name: str,
    made_by: Mapping[str, object],
    jobs: int,
    command: Callable[[int], str],
) -> None:
    """Write ``<name>.scp``, ``utt2<value_name>`` and ``grid.json`` of what jobs made.

    Args:
        wav_scp: Formatted audio of the set.
        output: Of the jobs.
        name: Of the arrays.
        value_name: Of the numbers.
        made_by: What the jobs were told, as far as it is known here.
        jobs: Their number.
        command: Tells how to run one of them.

    Raises:
        DataError: One has not made all of its chunks, or they are of another set or
            made otherwise.
    """
    state_file = output / "made_by.json"
    try:
        state = state_file.read_text()
        known = json.loads(state)
    except (OSError, ValueError):
        raise DataError(
            f"{state_file} is missing: no job has been run. Run them all, "
            f"{command(1)} and so on"
        ) from None
    wanted = {**made_by, "wav_scp": file_digest(wav_scp)}
    for key, value in json.loads(json.dumps(wanted)).items():
        if known.get(key) != value:
            what = f"{wav_scp} as it is now" if key == "wav_scp" else f"{key} {value}"
            raise DataError(
                f"{output}: the last job was not of {what}. Run all jobs, {command(1)} "
                "and so on"
            )
    folder = chunk_folder(output, state)
    count = sum(1 for _ in iter_chunks(wav_scp, None, CHUNK_UTTERANCES))
    for chunk in iter_chunks(wav_scp, None, CHUNK_UTTERANCES):
        if not is_whole(chunk.stem(folder), list(chunk.audio)):
            job = next(
                job
                for job in range(1, jobs + 1)
                if chunk.number in Share(job, jobs).chunks(count)
            )
            raise DataError(
                f"{chunk.stem(folder)}.scp is missing or not whole: job {job} of "
                f"{jobs} is not done. Run it, it goes on where it was: {command(job)}"
            )
    _write_tables(output, name, value_name, folder, count)


def _write_tables(
    output: Path, name: str, value_name: str, folder: Path, count: int
) -> None:
    """Put the chunks' tables together; remove what was made otherwise, or is half."""
    # as FrameGrid writes it, which imports torch
    grid = json.dumps(json.loads((output / "made_by.json").read_text())["grid"]) + "\n"
    target = output / "grid.json"
    if not target.exists() or target.read_text() != grid:
        (output / f"{name}.scp").unlink(missing_ok=True)  # it has the old one's frames
        write_atomic(target, grid)
    for target, suffix in (
        (output / f"utt2{value_name}", "value"),
        (output / f"{name}.scp", "scp"),
    ):
        with atomic_writer(target) as stream, with_filename(target):
            for number in range(count):
                stem = Chunk(number, {}, 0.0).stem(folder)
                stream.write(Path(f"{stem}.{suffix}").read_bytes())
    for other in (output / "chunks").iterdir():
        if other != folder:
            shutil.rmtree(other)
    for file in folder.glob(".*"):  # what kills have left, not what another run writes
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > 3600:
                file.unlink()
