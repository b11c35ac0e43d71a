"""Scores a data set once and keeps its confidences, one byte per frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import kaldiio
import numpy as np
import soundfile

from espnet_a2m.chunked_table import write_chunked_table
from espnet_a2m.errors import DataError
from espnet_a2m.frame_grid import FrameGrid

#: Kaldi's one byte per value for values in [0, 1]
COMPRESSION_METHOD = 7
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
            f"dimension(s), where mono at {fs} Hz is needed: "
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


def score_set(
    wav_scp: str | Path,
    output_dir: str | Path,
    confidences_of: ConfidencesOf,
    grid: FrameGrid,
    scorer: Mapping[str, object],
    durations: Mapping[str, float] | None = None,
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
        durations: Of the utterances in seconds, for the ETA and for batches of like
            lengths.
        batch_seconds: Audio in a batch, with its padding; 0 scores one utterance at
            a time.

    Raises:
        DataError: An utterance cannot be scored.
    """

    def make_chunk(
        audio: dict[str, str], report: Callable[[float], object]
    ) -> dict[str, tuple[np.ndarray, float]]:
        if durations is not None and batch_seconds:
            audio = dict(sorted(audio.items(), key=lambda item: durations[item[0]]))
        made = {}
        for batch in batches(audio, grid.fs, batch_seconds):
            scored = confidences_of(list(batch.values()))
            for (utt_id, speech), confidence in zip(batch.items(), scored, strict=True):
                if not len(confidence):
                    raise DataError(
                        f"{audio[utt_id]}: utterance {utt_id} ({len(speech)} samples) "
                        "is too short for the scorer: raise --min_wav_duration "
                        "(stage 4)"
                    )
                made[utt_id] = confidence[:, None], float(confidence.mean())
                report(len(speech) / grid.fs)
        return made

    output = Path(output_dir)
    grid.save(output / "grid.json")
    write_chunked_table(
        Path(wav_scp),
        output,
        "confidence",
        "conf",
        make_chunk,
        scorer,
        durations,
        COMPRESSION_METHOD,
    )
