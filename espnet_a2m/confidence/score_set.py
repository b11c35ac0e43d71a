"""Score a data set once and store its confidences, one byte per frame."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_a2m.confidence.interface import Scorer, Scores
from espnet_a2m.core.errors import DataError, Preview, UserError
from espnet_a2m.data import shards
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.tables import Keys, iter_counts

#: Kaldi's one byte per value for values in [0, 1]
COMPRESSION_METHOD = 7


def free_memory(device: str) -> int:
    """Bytes that this process may still take."""
    if device != "cpu":
        return torch.cuda.mem_get_info()[0]
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (table := Path("/proc/meminfo")).exists():  # Linux
        words = table.read_text().split()
        free = int(words[words.index("MemAvailable:") + 1]) << 10
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, limit)


def refuse_too_long(
    scorer: Scorer, lengths: Iterable[tuple[str, int]], device: str
) -> None:
    """Raise DataError where utterances, of so many samples, do not fit in memory."""
    free = free_memory(device)
    long = Preview(10)
    for utt_id, samples in lengths:
        if (needed := scorer.bytes_needed(samples)) > free:
            seconds = samples / scorer.grid.fs
            long.add(f"{utt_id} ({seconds:.0f} s: {needed / 1e9:.0f} GB)")
    if long.count:
        raise DataError(
            f"{long.count} utterances are too long for the scorer, of whose memory "
            f"{free / 1e9:.0f} GB are free: {long}: cut them (`segments`), or leave "
            "them out (--max_wav_duration, filter_lengths)"
        )


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


def confidences_of(
    scorer: Scorer, batch: Mapping[str, np.ndarray], device: str
) -> dict[str, tuple[np.ndarray, float]]:
    """Score a batch, utterance -> (N,) samples, and check what the scorer returns.

    Returns utterance -> (T,) confidences in [0, 1], T >= 0, and s_u. Raises UserError:
    they are outside [0, 1], not finite, or not on the scorer's grid.
    """
    rows = [torch.from_numpy(speech) for speech in batch.values()]
    samples = torch.tensor([len(row) for row in rows])
    speech = pad_sequence(rows, batch_first=True).to(device)
    with torch.no_grad():
        scores = Scores(*scorer.score(speech, samples, list(batch)))
    scored = {}
    values = scores.confidence.float().cpu().numpy()
    lengths = scores.lengths.tolist()
    for row, (utt_id, length) in enumerate(zip(batch, lengths, strict=True)):
        name = f"{type(scorer).__name__}: utterance {utt_id}"
        fix = "correct the scorer's grid, or the lengths that it returns"
        scorer.grid.check_num_frames(length, int(samples[row]), name, fix)
        if length > values.shape[1]:
            raise UserError(
                f"{name} has {length} frames in {values.shape[1]} columns: {fix}"
            )
        frames, s_u = values[row, :length], 0.0
        if length:
            known = scores.utterance
            s_u = float(frames.mean() if known is None else known[row])
        if not (((frames >= 0) & (frames <= 1)).all() and 0 <= s_u <= 1):
            problem = "got confidences that are NaN or outside [0, 1]: clamp them"
            raise UserError(f"{name} {problem}")
        scored[utt_id] = frames, s_u
    return scored


def score_set(
    data: Path,
    output: Path,
    scorer: Scorer,
    metadata: Mapping[str, object],
    batch_seconds: float = 0.0,
    device: str = "cpu",
    shard: shards.Shard = shards.ONE_SHARD,
) -> None:
    """Write ``confidence.scp``, ``utt2conf`` and ``grid.json`` of a set.

    A second call with the same set and scorer only scores the chunks that are missing;
    with others it starts from scratch, and replaces what was there when all is scored.
    One of several shards leaves the tables to `ShardedSet.merge_shards`.

    Args:
        data: Formatted data directory; ``utt2num_samples``, if it is there, makes
            batches of similar lengths.
        output: Where the confidences go.
        scorer: The model that returns confidences.
        metadata: Its name and options; compared with an earlier call's.
        batch_seconds: Audio in a batch, with padding; 0: an utterance at a time.
        device: ``cpu`` or ``cuda``.
        shard: What of the set is scored.

    Raises:
        UserError: An utterance cannot be scored.
    """
    fs = scorer.grid.fs
    counts = data / "utt2num_samples"

    def write_chunk(
        chunk: shards.Chunk, stem: Path, report: Callable[[float], object]
    ) -> None:
        arrays = {}
        for batch in batches(chunk.audio, fs, batch_seconds):
            if not counts.exists():
                sizes = ((utt_id, len(speech)) for utt_id, speech in batch.items())
                refuse_too_long(scorer, sizes, device)
            for utt_id, (frames, s_u) in confidences_of(scorer, batch, device).items():
                samples = len(batch[utt_id])
                if not len(frames):
                    raise DataError(
                        f"{chunk.audio[utt_id]}: utterance {utt_id} ({samples} "
                        "samples) is too short for the scorer: raise "
                        "--min_wav_duration (filter_lengths)"
                    )
                arrays[utt_id] = frames[:, None], s_u
                report(samples / fs)
        shards.write_arrays(stem, arrays, COMPRESSION_METHOD)

    scorer.prepare(Keys(data / "wav.scp"))
    if counts.exists():  # all at once, before the first
        refuse_too_long(scorer, iter_counts(counts), device)
    described = {"description": scorer.description, "grid": vars(scorer.grid)}
    tables = shards.CONFIDENCES, {**metadata, **described}
    shards.ShardedSet(data, output, *tables).write_shard(write_chunk, shard, fs)
