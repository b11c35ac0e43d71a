"""Scores a data set once and keeps its confidences, one byte per frame.

The set is scored in chunks. A chunk's table is written last and by renaming,
so a chunk is either whole or scored again; the set's ``confidence.scp`` and
``utt2conf`` appear when all chunks are there.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import kaldiio
import numpy as np
import soundfile
from tqdm import tqdm

from espnet_a2m.errors import DataError, few
from espnet_a2m.frame_grid import FrameGrid
from espnet_a2m.kaldi_table import read_scp, sort_keys, write_atomic, write_table

#: Kaldi's one byte per value for values in [0, 1]
COMPRESSION_METHOD = 7
CHUNK_UTTERANCES = 500

#: Batch of (N,) samples -> the (T,) confidences in [0, 1] of each
ConfidencesOf = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]


def read_audio(utt_id: str, source: str, fs: int) -> np.ndarray:
    """Read one utterance of a formatted ``wav.scp`` (stage 3) as (N,) float32.

    Raises:
        DataError: Unreadable, or not mono at ``fs`` Hz.
    """
    try:
        if ":" in source and not os.path.exists(source):  # "file.ark:offset"
            rate, speech = kaldiio.load_mat(source)
            if np.issubdtype(speech.dtype, np.integer):
                speech = speech / (np.iinfo(speech.dtype).max + 1)
            speech = speech.astype(np.float32)
        else:
            speech, rate = soundfile.read(source, dtype="float32")
    except Exception as e:
        raise DataError(
            f"{source}: utterance {utt_id} cannot be read ({e}): "
            "format the audio again (stage 3)"
        ) from e
    if rate != fs or speech.ndim != 1:
        raise DataError(
            f"{source}: utterance {utt_id} is {rate} Hz, {speech.ndim} "
            f"dimension(s), but the scorer takes mono at {fs} Hz: "
            f"format the audio with --fs {fs} (stage 3)"
        )
    if not len(speech) or not np.isfinite(speech).all():
        raise DataError(
            f"{source}: utterance {utt_id} is empty or has NaN samples: "
            "repair or remove it"
        )
    return speech


def batches(
    audio: Mapping[str, str], fs: int, batch_seconds: float
) -> Iterator[dict[str, np.ndarray]]:
    """Read utterances in the order given, in batches that hold at most
    ``batch_seconds`` of audio with its padding, and at least one utterance.
    """
    batch: dict[str, np.ndarray] = {}
    longest = 0
    for utt_id, source in audio.items():
        speech = read_audio(utt_id, source, fs)
        longest = max(longest, len(speech))
        if batch and longest * (len(batch) + 1) > batch_seconds * fs:
            yield batch
            batch, longest = {}, len(speech)
        batch[utt_id] = speech
    if batch:
        yield batch


def score_chunk(
    stem: Path,
    audio: Mapping[str, str],
    confidences_of: ConfidencesOf,
    fs: int,
    batch_seconds: float,
    progress: tqdm,
) -> None:
    """Score one chunk into ``<stem>.ark``, then ``<stem>.conf`` and ``<stem>.scp``."""
    scored = {}
    for batch in batches(audio, fs, batch_seconds):
        found = confidences_of(list(batch.values()))
        for (utt_id, speech), confidence in zip(batch.items(), found, strict=True):
            if not len(confidence):
                raise DataError(
                    f"{audio[utt_id]}: utterance {utt_id} ({len(speech)} samples) is "
                    "too short for the scorer: raise --min_wav_duration (stage 4)"
                )
            scored[utt_id] = confidence[:, None]
            progress.update(len(speech) / fs)
    confidences = {utt_id: scored[utt_id] for utt_id in sort_keys(scored)}
    ark, scp = f"{stem}.ark", f"{stem}.scp"
    kaldiio.save_ark(
        f"{ark}.tmp",
        confidences,
        scp=f"{scp}.tmp",
        compression_method=COMPRESSION_METHOD,
    )
    os.replace(f"{ark}.tmp", ark)
    write_table(
        f"{stem}.conf", {utt: f"{c.mean():.6f}" for utt, c in confidences.items()}
    )
    table = Path(f"{scp}.tmp").read_text(encoding="utf-8")
    write_atomic(scp, table.replace(f"{ark}.tmp:", f"{ark}:"))
    os.remove(f"{scp}.tmp")


def score_set(
    wav_scp: str | Path,
    output_dir: str | Path,
    confidences_of: ConfidencesOf,
    grid: FrameGrid,
    scorer: Mapping[str, object],
    durations: Mapping[str, str] | None = None,
    batch_seconds: float = 0.0,
) -> None:
    """Write ``confidence.scp``, ``utt2conf`` and ``grid.json`` of a set.

    A second call with the same set and scorer only does the chunks that are
    missing; with others it starts anew.

    Args:
        wav_scp: Formatted audio of the set.
        output_dir: Where the confidences go.
        confidences_of: Batch of (N,) samples -> (T,) confidences in [0, 1] of each,
            which must not depend on the rest of the batch.
        grid: Frame grid of the confidences.
        scorer: What describes the scorer; compared with an earlier call's.
        durations: Utterance -> samples (``utt2num_samples``), for the ETA and for
            batches of like lengths.
        batch_seconds: Audio in a batch, with its padding; 0 scores one utterance at
            a time.

    Raises:
        DataError: An utterance cannot be scored, or has no duration.
    """
    audio = read_scp(wav_scp)
    if durations is not None and (lost := [u for u in audio if u not in durations]):
        raise DataError(
            f"{wav_scp}: utt2num_samples beside it lacks {few(lost)}: complete it, or "
            "remove it"
        )
    output = Path(output_dir)
    chunks = output / "chunks"
    chunks.mkdir(parents=True, exist_ok=True)
    content = hashlib.sha256(Path(wav_scp).read_bytes()).hexdigest()
    state = json.dumps({**scorer, "wav_scp": content}, sort_keys=True)
    state_file = output / "scored.json"
    if not state_file.exists() or state_file.read_text(encoding="utf-8") != state:
        for old in (*chunks.iterdir(), output / "confidence.scp", output / "utt2conf"):
            old.unlink(missing_ok=True)
        write_atomic(state_file, state)
    grid.save(output / "grid.json")

    utt_ids = list(audio)
    total = None
    if durations is not None:
        # rounded up: the sum of the parts may exceed the exact one in its last digit
        total = math.ceil(sum(int(durations[u]) for u in utt_ids) / grid.fs)
    stems = []
    with tqdm(total=total, unit="s", unit_scale=True, desc=f"score {output}") as bar:
        for begin in range(0, len(utt_ids), CHUNK_UTTERANCES):
            chunk = utt_ids[begin : begin + CHUNK_UTTERANCES]
            stem = chunks / f"{begin // CHUNK_UTTERANCES:06d}"
            stems.append(stem)
            if not Path(f"{stem}.scp").exists():
                if durations is not None and batch_seconds:
                    chunk.sort(key=lambda utt_id: int(durations[utt_id]))
                part = {utt_id: audio[utt_id] for utt_id in chunk}
                score_chunk(stem, part, confidences_of, grid.fs, batch_seconds, bar)
            elif durations is not None:
                bar.update(sum(int(durations[u]) for u in chunk) / grid.fs)
    for name, suffix in (("utt2conf", "conf"), ("confidence.scp", "scp")):
        tables = (Path(f"{s}.{suffix}").read_text(encoding="utf-8") for s in stems)
        write_atomic(output / name, "".join(tables))
