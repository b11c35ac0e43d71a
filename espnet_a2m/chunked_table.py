"""A set's arrays and numbers, made chunk by chunk, so that a kill costs one chunk.

Each utterance has an array, kept in Kaldi archives, and one number about it. The
table of a chunk's arrays is written last and by renaming, so a chunk is either whole
or made again; the tables of the whole set appear when all chunks are there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import kaldiio
import numpy as np
from tqdm import tqdm

from espnet_a2m.kaldi_table import read_scp, write_atomic, write_table
from espnet_a2m.scoring import read_audio

CHUNK_UTTERANCES = 500

#: (utterance, its file, (N,) samples) -> array for the archive, number
Process = Callable[[str, str, np.ndarray], tuple[np.ndarray, float]]


def write_chunk(
    stem: Path,
    audio: Mapping[str, str],
    process: Process,
    fs: int,
    compression_method: int | None,
    progress: tqdm,
) -> None:
    """Write ``<stem>.ark``, then ``<stem>.value``, then ``<stem>.scp``."""
    arrays, values = {}, {}
    for utt_id, source in audio.items():
        speech = read_audio(utt_id, source, fs)
        arrays[utt_id], value = process(utt_id, source, speech)
        values[utt_id] = f"{value:.6f}"
        progress.update(len(speech) / fs)
    ark, scp = f"{stem}.ark", f"{stem}.scp"
    kaldiio.save_ark(
        f"{ark}.tmp",
        arrays,
        scp=f"{scp}.tmp",
        compression_method=compression_method,
    )
    os.replace(f"{ark}.tmp", ark)
    write_table(f"{stem}.value", values)
    table = Path(f"{scp}.tmp").read_text(encoding="utf-8")
    write_atomic(scp, table.replace(f"{ark}.tmp:", f"{ark}:"))
    os.remove(f"{scp}.tmp")


def write_chunked_table(
    data: Path,
    output: Path,
    name: str,
    value_name: str,
    process: Process,
    fs: int,
    made_by: Mapping[str, object],
    compression_method: int | None = None,
) -> None:
    """Write ``<name>.scp`` and ``utt2<value_name>`` of a set.

    A second call with the same set and ``made_by`` only does the chunks that are
    missing; with others it starts anew.

    Args:
        data: Formatted data directory.
        output: Where the tables go.
        name: Of the arrays.
        value_name: Of the numbers.
        process: Makes both from the audio.
        fs: Sampling rate in Hz that ``process`` takes.
        made_by: What describes ``process``; compared with an earlier call's.
        compression_method: Kaldi's, of matrices; None stores them as they are.

    Raises:
        DataError: The audio of an utterance cannot be read.
    """
    audio = read_scp(data / "wav.scp")
    durations = {}
    if (data / "utt2num_samples").exists():
        table = read_scp(data / "utt2num_samples")
        durations = {utt_id: int(table[utt_id]) / fs for utt_id in audio}
    chunks = output / "chunks"
    chunks.mkdir(parents=True, exist_ok=True)
    scp, numbers = output / f"{name}.scp", output / f"utt2{value_name}"
    content = hashlib.sha256((data / "wav.scp").read_bytes()).hexdigest()
    state = json.dumps({**made_by, "wav_scp": content}, sort_keys=True)
    state_file = output / "made_by.json"
    if not state_file.exists() or state_file.read_text(encoding="utf-8") != state:
        for old in (*chunks.iterdir(), scp, numbers):
            old.unlink(missing_ok=True)
        write_atomic(state_file, state)

    utt_ids = list(audio)
    stems = []
    with tqdm(
        total=sum(durations.values()) or None,
        unit="s",
        unit_scale=True,
        desc=f"{name} of {data.name}",
    ) as bar:
        for begin in range(0, len(utt_ids), CHUNK_UTTERANCES):
            chunk = utt_ids[begin : begin + CHUNK_UTTERANCES]
            stem = chunks / f"{begin // CHUNK_UTTERANCES:06d}"
            stems.append(stem)
            if Path(f"{stem}.scp").exists():
                bar.update(sum(durations.get(utt_id, 0.0) for utt_id in chunk))
            else:
                part = {utt_id: audio[utt_id] for utt_id in chunk}
                write_chunk(stem, part, process, fs, compression_method, bar)
    for target, suffix in ((numbers, "value"), (scp, "scp")):
        tables = (Path(f"{s}.{suffix}").read_text(encoding="utf-8") for s in stems)
        write_atomic(target, "".join(tables))
