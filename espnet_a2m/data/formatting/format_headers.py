"""Checks of all recordings before any is formatted."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import Executor
from pathlib import Path

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, Preview, warn
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.audio import AudioInfo, audio_info
from espnet_a2m.data.formatting.format_jobs import Job, check_segment
from espnet_a2m.data.tables import is_command

File = tuple[str, int | None]  # path, channel


def check_headers(
    parts: Iterable[list[Job]], fs: int, pool: Executor
) -> tuple[int, float]:
    """Open every recording of the jobs of all parts, or raise one DataError.

    Returns the number of jobs, and about how many samples at `fs` Hz their outputs will
    have; what commands will write is not known before they are run.
    """
    count, samples, num_files, num_clipped = 0, 0.0, 0, 0
    errors: list[str] = []
    low = Preview(1)
    for jobs in parts:
        count += len(jobs)
        files = {(j.audio, j.channel): None for j in jobs if not is_command(j.audio)}
        num_files += len(files)
        infos, unreadable = read_headers(files, pool)
        errors += unreadable
        for info in infos.values():
            if info.rate < fs:
                low.add(f"{info.path} ({info.rate} Hz)")
        for job in jobs:
            if (job.audio, job.channel) not in infos:
                continue
            info = infos[job.audio, job.channel]
            end = info.seconds if job.end is None else job.end
            try:
                check_segment(job, info)
            except DataError as error:
                errors.append(f"{job.utt}: {error}")
            num_clipped += end > info.seconds + 0.5 / info.rate
            seconds = max(0.0, min(end, info.seconds) - job.start) / job.speed
            samples += seconds * fs
    raise_all(errors)
    if num_clipped:
        print(f"{num_clipped} segments end just after their recording: cut there")
    if low.count:
        warn(
            f"{low.count} of {num_files} recordings have a lower rate than {fs} Hz, "
            f"e.g. {low.first[0]}"
        )
    return count, samples


def read_headers(
    files: Collection[File], pool: Executor
) -> tuple[dict[File, AudioInfo], list[str]]:
    """What the headers of recordings say, and what is wrong with others."""
    opened = pool.map(_info_or_error, files, chunksize=64)
    found = dict(zip(files, tqdm(opened, "headers", len(files), unit="file", delay=3)))
    errors = [info for info in found.values() if isinstance(info, str)]
    return {f: i for f, i in found.items() if not isinstance(i, str)}, errors


def _info_or_error(file: File) -> AudioInfo | str:
    try:
        return audio_info(*file)
    except DataError as error:
        return str(error)


def raise_all(errors: list[str], report: Path | None = None, advice: str = "") -> None:
    """Raise one DataError that shows the first of `errors`; list all in `report`."""
    if not errors:
        return
    shown = "\n  ".join(errors[:10])
    rest = f"\n  ... and {len(errors) - 10} more" if len(errors) > 10 else ""
    if report is not None:
        write_atomic(report, "\n".join(errors) + "\n")
        rest += f"\nThe complete list is in {report}"
    raise DataError(
        f"{len(errors)} problem(s) with the audio:\n  {shown}{rest}{advice}"
    )
