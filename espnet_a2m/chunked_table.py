"""A set's arrays and numbers, made chunk by chunk, so that a kill costs one chunk.

Each utterance has an array, kept in Kaldi archives, and one number about it. The
table of a chunk's arrays is written last and by renaming, so a chunk is either whole
or made again; the tables of the whole set appear when all chunks are there.

Several jobs, each with a folder of its own, may make the chunks of one set; where the
set is divided between chunks, theirs are the chunks of one job alone.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import kaldiio
import numpy as np
from tqdm import tqdm

from espnet_a2m.chunks import WHOLE, Chunk, Durations, Share, iter_chunks
from espnet_a2m.errors import DataError, naming
from espnet_a2m.kaldi_ark import entry_end, open_regular, parse_entry
from espnet_a2m.kaldi_table import (
    file_digest,
    read_scp,
    sort_keys,
    write_atomic,
    write_table,
    writing,
)

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
    durations: Durations | None = None,
    compression_method: int | None = None,
    share: Share = WHOLE,
) -> None:
    """Write ``<name>.scp`` and ``utt2<value_name>`` of a set.

    A second call with the same set and ``made_by`` only does the chunks that are
    missing; with others it starts anew. One of several jobs makes its chunks only;
    `put_together` is for when all have done so.

    Args:
        wav_scp: Formatted audio of the set.
        output: Where the tables go.
        name: Of the arrays.
        value_name: Of the numbers.
        make_chunk: Makes both.
        made_by: What describes ``make_chunk``; compared with an earlier call's.
        durations: Of the utterances in seconds, for the ETA.
        compression_method: Kaldi's, of matrices; None stores them as they are.
        share: What of the set is made.
    """
    folder = share.folder(output)
    chunks = folder / "chunks"
    chunks.mkdir(parents=True, exist_ok=True)
    scp, numbers = output / f"{name}.scp", output / f"utt2{value_name}"
    state = json.dumps({**made_by, "wav_scp": file_digest(wav_scp)}, sort_keys=True)
    state_file = folder / "made_by.json"
    if not state_file.exists() or state_file.read_bytes() != state.encode():
        for old in (*chunks.iterdir(), scp, numbers):
            old.unlink(missing_ok=True)
        write_atomic(state_file, state)

    seconds = [
        chunk.seconds for chunk in iter_chunks(wav_scp, durations, CHUNK_UTTERANCES)
    ]
    own = share.chunks(len(seconds))
    total = None
    if durations is not None:
        # rounded up: the sum of the parts may exceed the exact one in its last digit
        total = math.ceil(sum(seconds[own.start : own.stop]))
    with tqdm(total=total, unit="s", unit_scale=True, desc=f"{name} {folder}") as bar:
        for chunk in iter_chunks(wav_scp, durations, CHUNK_UTTERANCES):
            if chunk.number not in own:
                continue
            stem = chunk.stem(folder)
            if is_whole(stem, sort_keys(chunk.audio)):
                bar.update(chunk.seconds)
            else:
                made = make_chunk(chunk.audio, bar.update)
                write_chunk(stem, made, compression_method)
    if share.jobs == 1:
        _write_tables(output, name, value_name, [(folder, own)])


def put_together(
    wav_scp: Path,
    output: Path,
    name: str,
    value_name: str,
    jobs: int,
    command: Callable[[int], str],
) -> None:
    """Write ``<name>.scp``, ``utt2<value_name>`` and ``grid.json`` of what jobs made.

    Args:
        wav_scp: Formatted audio of the set.
        output: Of the jobs.
        name: Of the arrays.
        value_name: Of the numbers.
        jobs: Their number.
        command: Tells how to run one of them.

    Raises:
        DataError: One has not made all of its chunks, or has made them of another
            set or otherwise than the others.
    """
    shares = [Share(job, jobs) for job in range(1, jobs + 1)]
    first, digest = None, file_digest(wav_scp)
    for share in shares:
        file = share.folder(output) / "made_by.json"
        try:
            state = json.loads(file.read_bytes())
        except (OSError, ValueError):
            _refuse(share, file, "is missing", command)
        if state.get("wav_scp") != digest:
            _refuse(share, file, f"is not of {wav_scp} as it is now", command)
        if share.job > 1 and state != first:
            _refuse(share, file, "has other options than job 1", command)
        first = state

    count = sum(1 for _ in iter_chunks(wav_scp, None, CHUNK_UTTERANCES))
    parts = [(share.folder(output), share.chunks(count)) for share in shares]
    for chunk in iter_chunks(wav_scp, None, CHUNK_UTTERANCES):
        share = next(s for s in shares if chunk.number in s.chunks(count))
        stem = chunk.stem(share.folder(output))
        if not is_whole(stem, list(chunk.audio)):
            _refuse(share, Path(f"{stem}.scp"), "is missing or not whole", command)
    grid = parts[0][0] / "grid.json"
    write_atomic(output / "grid.json", grid.read_bytes())
    _write_tables(output, name, value_name, parts)


def _refuse(
    share: Share, file: Path, problem: str, command: Callable[[int], str]
) -> NoReturn:
    raise DataError(
        f"{file}: {problem}: job {share.job} of {share.jobs} is not done. Run it, it "
        f"goes on where it was: {command(share.job)}"
    )


def _write_tables(
    output: Path, name: str, value_name: str, parts: list[tuple[Path, range]]
) -> None:
    """Put the chunks' tables together and remove what other jobs have left."""
    for target, suffix in ((f"utt2{value_name}", "value"), (f"{name}.scp", "scp")):
        with writing(output / target) as stream, naming(output / target):
            for folder, numbers in parts:
                for number in numbers:
                    stem = Chunk(number, {}, 0.0).stem(folder)
                    stream.write(Path(f"{stem}.{suffix}").read_bytes())
    if parts[0][0] == output:
        shutil.rmtree(output / "jobs", ignore_errors=True)
        return
    folders = {folder for folder, _ in parts}
    for old in output.glob("jobs/*"):
        if old not in folders:
            shutil.rmtree(old)
    shutil.rmtree(output / "chunks", ignore_errors=True)
    (output / "made_by.json").unlink(missing_ok=True)
