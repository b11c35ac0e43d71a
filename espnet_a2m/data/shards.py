"""Tables of a set, written in shards: by any number of jobs, at any time, anywhere.

A set is divided into chunks of utterances that follow each other, and jobs take them in
turn; a shard is the chunks of one job. Tables are written atomically, and the last one
of a chunk marks it complete: a job that is started again skips such chunks, so that an
interruption costs one of them. When all are complete, their tables are concatenated.

Chunks are in ``chunks/<digest of metadata.json>``. The metadata has the digest of the
set and all options that change what is written, so jobs with other options do not mix
with these, and earlier tables stay until the new ones are merged.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import kaldiio
import numpy as np
from tqdm import tqdm

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import atomic_writer, file_digest, write_atomic
from espnet_a2m.data.archives import entry_end, open_regular, parse_entry
from espnet_a2m.data.tables import (
    iter_counts,
    iter_scp,
    join_utterances,
    read_scp,
    sort_keys,
    write_table,
)

CHUNK_UTTERANCES = 500
#: Suffix of a chunk's table -> table of the set, in the order in which they are written
CONFIDENCES = {"value": "utt2conf", "scp": "confidence.scp"}
LABELS = {"value": "utt2inertia", "scp": "labels.scp"}
HYPOTHESES = {"text": "text"}


@dataclass(frozen=True)
class Shard:
    """What job ``index``, from 1, does of a set: every ``num_shards``-th chunk."""

    index: int = 1
    num_shards: int = 1


ONE_SHARD = Shard()


class Chunk(NamedTuple):
    """Utterances that follow each other, the shortest first where lengths are known.

    ``number`` is from 0; ``audio`` has entries of ``wav.scp``; ``seconds`` are those of
    all utterances, 0 where lengths are not known.
    """

    number: int
    audio: dict[str, str]
    seconds: float


def chunk_stem(folder: Path, number: int) -> Path:
    """Path of a chunk's files without their suffix."""
    return folder / f"{number:06d}"


#: Writes the tables of a chunk: takes it, their path without suffix, and a function to
#: call with the seconds that are done
WriteChunk = Callable[[Chunk, Path, Callable[[float], object]], None]


def iter_speech(data: Path, fs: int | None) -> Iterator[tuple[str, str, float]]:
    """(utterance, entry of ``wav.scp``, seconds) of a formatted data directory.

    Seconds are 0 without the sampling rate ``fs`` in Hz, or ``utt2num_samples``.
    """
    wav_scp, samples = data / "wav.scp", data / "utt2num_samples"
    if fs is None or not samples.exists():
        yield from ((utt_id, source, 0.0) for utt_id, source in iter_scp(wav_scp))
        return
    tables: list = [(wav_scp, iter_scp(wav_scp)), (samples, iter_counts(samples))]
    for utt_id, (source, count) in join_utterances(tables, "complete or remove it"):
        yield utt_id, source, count / fs


def iter_chunks(
    data: Path, fs: int | None = None, size: int | None = None
) -> Iterator[Chunk]:
    """The chunks, of ``size`` utterances, of a formatted data directory.

    Without ``fs``, the sampling rate in Hz, lengths are not looked at.
    """
    speech = iter_speech(data, fs)
    for number in itertools.count():
        rows = list(itertools.islice(speech, size or CHUNK_UTTERANCES))
        if not rows:
            return
        rows.sort(key=lambda row: (row[2], row[0]))
        audio = {utt_id: source for utt_id, source, _ in rows}
        yield Chunk(number, audio, sum(seconds for *_, seconds in rows))


def write_arrays(
    stem: Path,
    arrays: Mapping[str, tuple[np.ndarray, float]],
    compression_method: int | None = None,
) -> None:
    """Write ``<stem>.ark``, then the tables ``<stem>.value`` and ``<stem>.scp``.

    ``arrays`` are by utterance, each with the number about it that is its value;
    ``compression_method`` is Kaldi's, of matrices.
    """
    ark, entries = f"{stem}.ark", {}
    with atomic_writer(ark) as stream:
        for utt_id in sort_keys(arrays):
            entries[utt_id] = f"{ark}:{stream.tell() + len(utt_id.encode()) + 1}"
            array = {utt_id: arrays[utt_id][0]}
            kaldiio.save_ark(stream, array, compression_method=compression_method)
    values = {utt_id: f"{value:.6f}" for utt_id, (_, value) in arrays.items()}
    write_table(f"{stem}.value", values)
    write_table(f"{stem}.scp", entries)


def is_complete(
    stem: Path, suffixes: Collection[str], utt_ids: Collection[str]
) -> bool:
    """Are the tables of a chunk there, of these utterances, and no archive cut off?"""
    try:
        for suffix in suffixes:
            table = read_scp(f"{stem}.{suffix}", allow_empty=suffix == "text")
            if list(table) != sort_keys(utt_ids):
                return False
        if "scp" not in suffixes:
            return True
        entry = [*table.values()][-1]
        with open_regular(f"{stem}.ark") as file:
            is_last = entry_end(file, entry) == os.fstat(file.fileno()).st_size
        return is_last and parse_entry(entry)[0] == f"{stem}.ark"
    except DataError:
        return False


def chunk_folder(output: Path, metadata: str) -> Path:
    """Where the chunks are that the content of ``metadata.json`` describes."""
    return output / "chunks" / hashlib.sha256(metadata.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ShardedSet:
    """Tables about the utterances of a set, which jobs write.

    Attributes:
        data: Formatted data directory of the set.
        output: Where the tables go.
        tables: Suffix of a chunk's table -> table of the set; the last one is written
            last.
        metadata: What determines the tables, in JSON's types; a `FrameGrid` as "grid"
            is written to ``grid.json``. To merge, what is known of it is enough.
        size: Utterances of a chunk [CHUNK_UTTERANCES].
    """

    data: Path
    output: Path
    tables: Mapping[str, str]
    metadata: Mapping[str, object]
    size: int | None = None

    def write_shard(
        self, write_chunk: WriteChunk, shard: Shard = ONE_SHARD, fs: int | None = None
    ) -> None:
        """Write the chunks of a shard that are not complete; of one shard, all tables.

        With the sampling rate ``fs`` in Hz, the progress is shown in seconds of audio.
        Raises DataError where a later call has the same output, but other metadata.
        """
        content = json.dumps(self._all_metadata(), sort_keys=True)
        folder = chunk_folder(self.output, content)
        folder.mkdir(parents=True, exist_ok=True)
        path = self._metadata_file()
        if not path.exists() or path.read_bytes() != content.encode():
            write_atomic(path, content)

        seconds = [chunk.seconds for chunk in iter_chunks(self.data, fs, self.size)]
        first, step = shard.index - 1, shard.num_shards
        title = str(self.output / [*self.tables.values()][-1])
        if shard.num_shards > 1:
            title += f", job {shard.index} of {shard.num_shards}"
        with tqdm(
            desc=title,
            # rounded up: the sum of the parts may exceed the exact one
            total=math.ceil(sum(seconds[first::step])) or None,
            unit="s",
            unit_scale=True,
            disable=fs is None,
        ) as bar:
            chunks = iter_chunks(self.data, fs, self.size)
            for chunk in itertools.islice(chunks, first, None, step):
                stem = chunk_stem(folder, chunk.number)
                if is_complete(stem, self.tables, chunk.audio):
                    bar.update(chunk.seconds)
                else:
                    write_chunk(chunk, stem, bar.update)
        if path.read_bytes() != content.encode():
            raise DataError(
                f"{self.output}: another run, begun since, writes it with other "
                "options or data: name another directory for one of them"
            )
        if shard.num_shards == 1:
            self._merge(content, len(seconds))

    def merge_shards(self, num_shards: int, command: Callable[[int], str]) -> None:
        """Merge the tables that all jobs have written.

        Raises DataError where one is not done, or its metadata are others; ``command``
        tells how to run a job, from 1.
        """
        path, all_jobs = self._metadata_file(), f"Run all jobs, {command(1)} and so on"
        try:
            content = path.read_text()
            known = json.loads(content)
        except (OSError, ValueError):
            raise DataError(
                f"{path} is missing: no job has been run. {all_jobs}"
            ) from None
        for key, value in json.loads(json.dumps(self._all_metadata())).items():
            if known.get(key) != value:
                what = f"{key} {value}"
                if key == "wav_scp":
                    what = f"{self.data / 'wav.scp'} as it is now"
                raise DataError(
                    f"{self.output}: the last job was not of {what}. {all_jobs}"
                )
        folder = chunk_folder(self.output, content)
        for chunk in iter_chunks(self.data, size=self.size):
            stem = chunk_stem(folder, chunk.number)
            if not is_complete(stem, self.tables, chunk.audio):
                job = chunk.number % num_shards + 1
                raise DataError(
                    f"{stem} is not complete: job {job} of {num_shards} is not done. "
                    f"Run it, it resumes: {command(job)}"
                )
        self._merge(content, chunk.number + 1)

    def _all_metadata(self) -> dict[str, object]:
        return {**self.metadata, "wav_scp": file_digest(self.data / "wav.scp")}

    def _metadata_file(self) -> Path:
        path = self.output / "metadata.json"
        with contextlib.suppress(FileNotFoundError):
            (self.output / "made_by.json").rename(path)  # its name in version 0.1
        return path

    def _merge(self, metadata: str, count: int) -> None:
        """Concatenate the chunks' tables; remove other chunks and temporary files."""
        folder = chunk_folder(self.output, metadata)
        if grid := json.loads(metadata).get("grid"):
            # as FrameGrid writes it, which imports torch
            target, content = self.output / "grid.json", json.dumps(grid) + "\n"
            if not target.exists() or target.read_text() != content:
                # the frames of the table that is there are on another grid
                (self.output / self.tables["scp"]).unlink(missing_ok=True)
                write_atomic(target, content)
        for suffix, name in self.tables.items():
            with atomic_writer(self.output / name) as stream:
                for number in range(count):
                    table = Path(f"{chunk_stem(folder, number)}.{suffix}")
                    stream.write(table.read_bytes())
        for other in (self.output / "chunks").iterdir():
            if other != folder:
                shutil.rmtree(other)
        # left by an interruption, unless another run is writing it
        for file in folder.glob(".*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > 3600:
                    file.unlink()
