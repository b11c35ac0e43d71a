"""Checks of all recordings before any is formatted."""

from __future__ import annotations

import sys
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.audio import AudioInfo, audio_info
from espnet_a2m.data.formatting.format_jobs import Job, check_segment
from espnet_a2m.data.tables import is_command


@dataclass
class Headers:
    """What the headers of the recordings say, of all parts.

    Attributes:
        samples: How many the outputs will have, about; what commands will write is
            not known before they are run.
        errors: Recordings that cannot be used, segments outside of them.
        clipped: Segments that end just after their recording.
        files: Recordings.
        low: Those of a lower rate than is wanted, with their rate in Hz.
    """

    samples: float = 0.0
    errors: list[str] = field(default_factory=list)
    clipped: int = 0
    files: int = 0
    low: Preview = field(default_factory=lambda: Preview(1))

    def read(self, jobs: list[Job], fs: int, pool: Executor) -> None:
        """Open every recording of some jobs."""
        paths = list(
            dict.fromkeys((j.audio, j.channel) for j in jobs if not is_command(j.audio))
        )
        self.files += len(paths)
        infos: dict[tuple[str, int | None], AudioInfo] = {}
        for path, found in zip(paths, pool.map(_info_or_error, paths, chunksize=64)):
            if isinstance(found, str):
                self.errors.append(found)
                continue
            infos[path] = found
            if found.rate < fs:
                self.low.add(f"{path[0]} ({found.rate} Hz)")
        for job in jobs:
            info = infos.get((job.audio, job.channel))
            if info is None:
                continue
            end = info.seconds if job.end is None else job.end
            try:
                check_segment(job, info)
            except DataError as error:
                self.errors.append(f"{job.utt}: {error}")
            self.clipped += end > info.seconds + 0.5 / info.rate
            seconds = max(0.0, min(end, info.seconds) - job.start) / job.speed
            self.samples += seconds * fs

    def report(self, fs: int) -> None:
        """Print warnings. Raises DataError for recordings that cannot be used."""
        raise_all(self.errors)
        if self.clipped:
            print(f"{self.clipped} segments end just after their recording: cut there")
        if self.low.count:
            print(
                f"WARNING: {self.low.count} of {self.files} recordings have a lower "
                f"rate than {fs} Hz, e.g. {self.low.first[0]}",
                file=sys.stderr,
            )


def _info_or_error(file: tuple[str, int | None]) -> AudioInfo | str:
    try:
        return audio_info(*file)
    except DataError as error:
        return str(error)


def raise_all(errors: list[str], report: Path | None = None) -> None:
    """Raise one DataError that shows the first of `errors`; list all in `report`."""
    if not errors:
        return
    shown = "\n  ".join(errors[:10])
    rest = f"\n  ... and {len(errors) - 10} more" if len(errors) > 10 else ""
    if report is not None:
        write_atomic(report, "\n".join(errors) + "\n")
        rest += f"\nThe whole list is in {report}"
    raise DataError(f"{len(errors)} problem(s) with the audio:\n  {shown}{rest}")
