"""Checks of all recordings before any is formatted."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, Preview, listed, warn
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.audio import AudioInfo, audio_info
from espnet_a2m.data.formatting.format_jobs import Job, check_segment
from espnet_a2m.data.tables import is_command

File = tuple[str, int | None]  # path, channel


class BadAudio(DataError):
    """Audio that cannot be used; the message has the first ten problems.

    Args:
        problems: utterance, or recording, -> what is wrong with it.
        folder: data directory in whose `bad_audio.txt` `write` writes all of them.
    """

    def __init__(self, problems: Mapping[str, str], folder: Path) -> None:
        self.problems = problems
        self.lines = [f"{name}: {problem}" for name, problem in problems.items()]
        self.report = folder / "bad_audio.txt"
        super().__init__(
            f"{len(self.lines)} problem(s) with the audio:\n  {listed(self.lines)}\n"
            f"The complete list is in {self.report}; --skip_bad_audio true leaves them "
            "out"
        )

    def write(self) -> None:
        """Write the list of all problems."""
        write_atomic(self.report, "\n".join(self.lines) + "\n")


def add_skip_bad_audio(parser: argparse.ArgumentParser) -> None:
    """Add the option that leaves utterances out whose audio cannot be used."""
    parser.add_argument(
        "--skip_bad_audio",
        choices=("true", "false"),
        default="false",
        help="leave out what has bad audio, and list it in bad_audio.txt",
    )


def check_headers(
    parts: Iterable[list[Job]], fs: int, pool: Executor
) -> tuple[int, float, dict[str, str]]:
    """Open every recording of the jobs of all parts.

    Returns the number of jobs, about how many samples at `fs` Hz their outputs will
    have (what commands will write is not known before they are run), and utterance ->
    what is wrong with its audio.
    """
    count, samples, num_files, num_clipped = 0, 0.0, 0, 0
    bad: dict[str, str] = {}
    low = Preview(1)
    for jobs in parts:
        count += len(jobs)
        files = {(j.audio, j.channel): None for j in jobs if not is_command(j.audio)}
        num_files += len(files)
        infos, unreadable = read_headers(files, pool)
        for info in infos.values():
            if info.rate < fs:
                low.add(f"{info.path} ({info.rate} Hz)")
        for job in jobs:
            file = job.audio, job.channel
            if file in unreadable:
                bad[job.utt] = unreadable[file]
            if file not in infos:
                continue
            info = infos[file]
            end = info.seconds if job.end is None else job.end
            try:
                check_segment(job, info)
            except DataError as error:
                bad[job.utt] = str(error)
            num_clipped += end > info.seconds + 0.5 / info.rate
            seconds = max(0.0, min(end, info.seconds) - job.start) / job.speed
            samples += seconds * fs
    if num_clipped:
        print(f"{num_clipped} segments end just after their recording: cut there")
    if low.count:
        warn(
            f"{low.count} of {num_files} recordings have a lower rate than {fs} Hz, "
            f"e.g. {low.first[0]}"
        )
    return count, samples, bad


def read_headers(
    files: Collection[File], pool: Executor
) -> tuple[dict[File, AudioInfo], dict[File, str]]:
    """What the headers of recordings say, and what is wrong with others."""
    opened = pool.map(_info_or_error, files, chunksize=64)
    found = dict(zip(files, tqdm(opened, "headers", len(files), unit="file", delay=3)))
    errors = {file: info for file, info in found.items() if isinstance(info, str)}
    return {f: i for f, i in found.items() if not isinstance(i, str)}, errors


def _info_or_error(file: File) -> AudioInfo | str:
    try:
        return audio_info(*file)
    except DataError as error:
        return str(error)
