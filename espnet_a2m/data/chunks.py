"""How a set is divided: chunks of utterances, shares of jobs; read line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.data.tables import iter_counts, iter_scp, outer_join


class Durations(Protocol):
    """Seconds of utterances: a mapping in their order, or a table on the disk."""

    def items(self) -> Iterable[tuple[str, float]]:
        """(utterance, seconds), sorted bytewise."""


class SampleCounts(NamedTuple):
    """The durations that a file ``utt2num_samples`` at ``fs`` Hz tells."""

    path: Path
    fs: int

    def items(self) -> Iterator[tuple[str, float]]:
        """(utterance, seconds), read line by line."""
        return ((utt_id, count / self.fs) for utt_id, count in iter_counts(self.path))


class Share(NamedTuple):
    """What one of several jobs does: ``job`` counts from 1."""

    job: int = 1
    jobs: int = 1

    @property
    def title(self) -> str:
        """Which of them, for the progress."""
        return "" if self.jobs == 1 else f", job {self.job} of {self.jobs}"

    def chunks(self, count: int) -> range:
        """Numbers of its chunks, of ``count`` in all."""
        return range((self.job - 1) * count // self.jobs, self.job * count // self.jobs)


WHOLE = Share()


class Chunk(NamedTuple):
    """Some utterances that follow each other.

    Attributes:
        number: From 0.
        audio: Utterance -> file, the shortest first where durations are known.
        seconds: Of all of them; 0 where durations are not known.
    """

    number: int
    audio: dict[str, str]
    seconds: float

    def stem(self, folder: Path) -> Path:
        """Path of its files without their suffix."""
        return folder / f"{self.number:06d}"


def read_durations(data: Path, fs: int) -> SampleCounts | None:
    """Durations of the utterances of a data directory; None without utt2num_samples.

    Raises:
        DataError: ``utt2num_samples`` lacks utterances of ``wav.scp``.
    """
    path = data / "utt2num_samples"
    if not path.exists():
        return None
    lost = Preview()
    tables = [iter_scp(data / "wav.scp"), iter_scp(path)]
    for utt_id, (source, count) in outer_join(tables):
        if source is not None and count is None:
            lost.add(utt_id)
    if lost.count:
        raise DataError(f"{path}: it lacks {lost}: complete it, or remove it")
    return SampleCounts(path, fs)


def iter_chunks(
    wav_scp: Path, durations: Durations | None, size: int
) -> Iterator[Chunk]:
    """The chunks of a set, of ``size`` utterances, read as they are asked for."""
    lengths = () if durations is None else durations.items()
    rows: list[tuple[float, str, str]] = []
    number = 0

    def chunk() -> Chunk:
        seconds = sum(length for length, *_ in rows)
        audio = {utt_id: source for _, utt_id, source in sorted(rows)}
        return Chunk(number, audio, seconds)

    tables: list[Iterable[tuple[str, str | float]]] = [iter_scp(wav_scp), lengths]
    for utt_id, (source, length) in outer_join(tables):
        if source is None:
            continue
        if len(rows) == size:
            yield chunk()
            rows, number = [], number + 1
        rows.append((float(length or 0), utt_id, str(source)))
    yield chunk()
