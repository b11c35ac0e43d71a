"""Units of work of format_wav, the journal of what is done, processes.

The unit is a chunk: a few dozen utterances, formatted by one process and noted in the
journal when all its files have their final names. For archives a chunk is one archive.
The journal has utterances, not chunks, so that a changed input formats only its own
utterances again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import multiprocessing
import os
import shutil
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import with_filename, write_atomic
from espnet_a2m.data.audio import AudioInfo, Recording, convert, to_pcm16
from espnet_a2m.data.formatting.wav_pipes import open_recording
from espnet_a2m.data.tables import write_table

FORMATS = {"wav": "WAV", "flac": "FLAC", "wav.ark": "WAV", "flac.ark": "FLAC"}
CHUNK = 50  # utterances
LARGE, LARGE_CHUNK = 10_000, 200  # of a part this large, so that archives are fewer
VERSION = "2"  # change it when the same input gives other samples
BYTES_PER_SAMPLE = {"WAV": 2.0, "FLAC": 1.4}  # upper estimates, for speech
SPARE_BYTES = 64 << 20
LOUD = 1.1  # of full scale; resampling alone goes a little beyond 1
END_SLACK = 0.5  # seconds by which a segment may pass its recording's end (as Kaldi)


class Job(NamedTuple):
    """One utterance: seconds `start` to `end` (None: all) of a file, at a speed.

    `channel`, from 0, is of a file that has several. Marks in journals depend on the
    names here.
    """

    utt: str
    audio: str
    start: float
    end: float | None
    speed: float
    channel: int | None = None


@dataclass(frozen=True)
class Chunk:
    """Jobs for one process; `marks` says by utterance what identifies its result."""

    jobs: tuple[Job, ...]
    marks: dict[str, str]
    folder: Path
    archive: str
    fs: int
    fmt: str


def _mark(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]


def make_chunks(
    jobs: list[Job], folder: Path, fs: int, fmt: str, part: int, skip: Collection[str]
) -> list[Chunk]:
    """Divide the work of a part, pieces of one recording together, always alike.

    The audio goes to `folder` at `fs` Hz; `fmt` is one of FORMATS. Utterances to `skip`
    are left out.
    """
    stats: dict[str, tuple[int, int]] = {}
    for job in jobs:
        if job.audio not in stats:
            try:
                stat = os.stat(job.audio)
                stats[job.audio] = (stat.st_size, stat.st_mtime_ns)
            except OSError:
                stats[job.audio] = (0, 0)  # reported when it is opened
    ordered = sorted(jobs, key=lambda j: (j.audio, j.channel or 0, j.start, j.utt))
    chunks = []
    size = CHUNK if len(jobs) < LARGE else LARGE_CHUNK
    prefix = f"{part}-" if part else ""
    for first in range(0, len(ordered), size):
        some = tuple(j for j in ordered[first : first + size] if j.utt not in skip)
        marks = {j.utt: _mark(VERSION, j, stats[j.audio], fs, fmt) for j in some}
        if fmt.endswith(".ark"):  # an archive is written at once
            marks = {utt: _mark(utt, *marks.values()) for utt in marks}
        archive = f"{prefix}{first // size}.ark"
        chunks.append(Chunk(some, marks, folder, archive, fs, fmt))
    return chunks


class Journal:
    """What is done: "<utt> <mark> <samples> <file in data/> <its bytes>", appended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = path.parent / "data"
        self.sizes: dict[str, int | None] = {}
        text = path.read_text("utf-8", errors="replace") if path.exists() else ""
        # an interruption may have cut what follows the last line
        rows = (line.split(" ") for line in text.split("\n")[:-1])
        self.entries = {utt: entry for utt, *entry in rows if len(entry) == 4}
        self.close(self.entries)

    def size(self, name: str) -> int | None:
        """Bytes of a file in data/, as they were when it was first asked for."""
        if name not in self.sizes:
            try:
                self.sizes[name] = os.stat(self.files / name).st_size
            except (OSError, ValueError):  # ValueError: a NUL in the name
                self.sizes[name] = None
        return self.sizes[name]

    def rest(self, chunk: Chunk) -> Chunk | None:
        """What of a chunk is not formatted from this input, or is not there."""
        rest = []
        for job in chunk.jobs:
            mark, _, name, size = self.entries.get(job.utt, [""] * 4)
            there = size == str(self.size(name.partition(":")[0]))
            if not there or mark != chunk.marks[job.utt]:
                rest.append(job)
        if rest and chunk.fmt.endswith(".ark"):  # an archive is written at once
            return chunk
        return replace(chunk, jobs=tuple(rest)) if rest else None

    def add(self, done: dict[str, list[str]]) -> None:
        """Note utterances whose files have their final names."""
        self.entries.update(done)
        with with_filename(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{u} {' '.join(entry)}\n" for u, entry in done.items())

    def close(self, wanted: dict[str, list[str]]) -> None:
        """Keep exactly `wanted`."""
        write_table(self.path, {utt: " ".join(entry) for utt, entry in wanted.items()})


def check_disk(target: Path, samples: int, fmt: str) -> None:
    """Raise DataError when the files to be written will not fit on the disk."""
    target.mkdir(parents=True, exist_ok=True)
    need = int(samples * BYTES_PER_SAMPLE[FORMATS[fmt]]) + SPARE_BYTES
    free = shutil.disk_usage(target).free
    if need > free:
        raise DataError(
            f"{target}: about {need / 1e9:.1f} GB will be written but only "
            f"{free / 1e9:.1f} GB are free; make room, or put the dumps on another "
            "disk (--dumpdir)"
        )


def check_segment(job: Job, info: AudioInfo) -> None:
    """Raise DataError when the utterance is outside of its recording."""
    end = info.seconds if job.end is None else job.end
    if job.start >= info.seconds or end > info.seconds + END_SLACK:
        raise DataError(
            f"the segment {job.start:g}-{end:g} s is outside of {job.audio}, which "
            f"lasts {info.seconds:.3f} s; correct or remove it"
        )


def _samples(recording: Recording, job: Job, fs: int) -> np.ndarray:
    info = recording.info
    check_segment(job, info)
    start = round(job.start * info.rate)
    stop = info.frames if job.end is None else round(job.end * info.rate)
    samples = recording.read(start, min(stop, info.frames))
    samples = convert(samples, info.rate, fs, job.speed)
    if not len(samples):
        raise DataError(
            f"{job.audio}: nothing between {job.start} and {job.end} s (zero-length "
            "audio); correct or remove the utterance"
        )
    return samples


class Formatted(NamedTuple):
    """What became of a chunk's utterances.

    Attributes:
        done: what to add to the journal.
        bad: what is wrong with the audio of others.
        loud: peaks, of full scale, of those that were scaled down to it.
    """

    done: dict[str, list[str]]
    bad: dict[str, str]
    loud: dict[str, float]


def run_chunk(chunk: Chunk) -> Formatted:
    """Format the utterances of a chunk; an archive with a bad one is not written."""
    import soundfile

    done: dict[str, list[str]] = {}
    bad: dict[str, str] = {}
    loud: dict[str, float] = {}
    is_ark = chunk.fmt.endswith(".ark")
    archive = io.BytesIO()

    def write(job: Job, samples: np.ndarray) -> None:
        stream = io.BytesIO()
        container = FORMATS[chunk.fmt]
        soundfile.write(stream, samples, chunk.fs, "PCM_16", format=container)
        content = stream.getvalue()
        if is_ark:  # as kaldiio has it
            archive.write(job.utt.encode() + b" ")
            name = f"{chunk.archive}:{archive.tell()}"
            archive.write(b"AUDIO\x04" + len(content).to_bytes(4, "little") + content)
        else:
            name = f"{job.utt}.{chunk.fmt}"
            write_atomic(chunk.folder / name, content, sync=False)
        size = str(len(content))
        done[job.utt] = [chunk.marks[job.utt], str(len(samples)), name, size]

    for (audio, channel), jobs in itertools.groupby(
        chunk.jobs, lambda job: (job.audio, job.channel)
    ):
        try:
            recording = open_recording(audio, chunk.folder, channel)
        except DataError as error:
            bad.update((job.utt, str(error)) for job in jobs)
            continue
        with contextlib.closing(recording):
            for job in jobs:
                try:
                    samples = _samples(recording, job, chunk.fs)
                    is_float = samples.dtype != np.int16
                    if is_float and (peak := float(np.abs(samples).max())) > LOUD:
                        loud[job.utt] = peak
                    write(job, to_pcm16(samples))
                except DataError as error:
                    bad[job.utt] = str(error)
    if is_ark and bad:
        return Formatted({}, bad, {})
    if is_ark:
        write_atomic(chunk.folder / chunk.archive, archive.getvalue())
        for entry in done.values():
            entry[3] = str(archive.tell())
    return Formatted(done, bad, loud)


def _follow_parent() -> None:
    """End this process when the one that started it does, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def process_pool(
    nj: int,
) -> Iterator[ProcessPoolExecutor | ThreadPoolExecutor]:
    """`nj` processes whose `map` keeps the order; for one, a thread is enough."""
    pool: ProcessPoolExecutor | ThreadPoolExecutor
    if nj == 1:
        pool = ThreadPoolExecutor(1)
    else:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(nj, context, initializer=_follow_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
