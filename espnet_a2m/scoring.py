"""Scores a data set once and keeps its confidences, one byte per frame."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from espnet_a2m.audio_files import Recording
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
        with contextlib.closing(Recording(source)) as recording:
            if recording.info.rate != fs:
                raise DataError(
                    f"{source}: {recording.info.rate} Hz where {fs} Hz are needed"
                )
            speech = recording.read(0, recording.info.frames)
    except DataError as e:
        raise DataError(
            f"utterance {utt_id}: {e}: format the audio with --fs {fs} (stage 3)"
        ) from None
    if speech.dtype == np.int16:
        speech = speech.astype(np.float32) / 32768
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
