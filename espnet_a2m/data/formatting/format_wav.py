"""Cut segments, apply speeds and resample: one audio file per utterance.

An interrupted run resumes; a run whose input or options have changed formats again what
has changed. Both end with the same files as one clean run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from pathlib import Path

from tqdm import tqdm

from espnet_a2m.core.errors import DataError, main_guard, warn
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.datadir import DataDir, writing_data_dir
from espnet_a2m.data.formatting.format_headers import (
    BadAudio,
    add_skip_bad_audio,
    check_headers,
)
from espnet_a2m.data.formatting.format_jobs import (
    FORMATS,
    Chunk,
    Job,
    Journal,
    check_disk,
    make_chunks,
    process_pool,
    run_chunk,
)
from espnet_a2m.data.formatting.wav_pipes import add_allow_pipes

NOT_COPIED = ("utt2speed", "utt2num_samples")  # applied here; computed here


def jobs_of(source: DataDir) -> list[Job]:
    """One job per utterance; times in seconds, end None for all of the recording."""
    speeds = source.tables.get("utt2speed", {})
    jobs = []
    for utt in source.utts:
        try:
            speed = float(speeds.get(utt, "1.0"))
        except ValueError:
            raise DataError(
                f"{source.path}/utt2speed: {utt}: {speeds[utt]!r} is not a number"
            ) from None
        if source.segments is None:
            jobs.append(Job(utt, source.wav_scp[utt], 0.0, None, speed))
        else:
            recording, start, end, channel = source.segments[utt]
            path = source.wav_scp[recording]
            jobs.append(Job(utt, path, start, end, speed, channel))
    return jobs


def format_dir(
    read: Callable[[], Iterator[DataDir]],
    target: Path,
    fs: int,
    fmt: str,
    nj: int,
    skip_bad_audio: bool = False,
) -> tuple[int, int]:
    """Write the formatted copy, at `fs` Hz, of a directory whose parts `read` reads.

    Returns how many utterances there are, and how many of them were written now. Raises
    DataError for unusable audio (all of it is looked at first) and a full disk.
    """
    bad: dict[str, str] = {}
    while True:
        try:
            total, new = _format(read, target, fs, fmt, nj, bad)
            break
        except BadAudio as error:
            if not skip_bad_audio:
                error.write()
                raise
            bad |= error.problems
    if bad:
        BadAudio(bad, target).write()
        warn(
            f"{target}: {len(bad)} utterances with bad audio are left out; the list is "
            "in its bad_audio.txt"
        )
    return total, new


def _format(
    read: Callable[[], Iterator[DataDir]],
    target: Path,
    fs: int,
    fmt: str,
    nj: int,
    skip: Collection[str],
) -> tuple[int, int]:
    audio_dir = target / "data"

    def plan() -> Iterator[tuple[DataDir, list[Chunk], Journal, list[Chunk]]]:
        for number, source in enumerate(read()):
            chunks = make_chunks(jobs_of(source), audio_dir, fs, fmt, number, skip)
            journal = Journal(journal_path(target, number))
            todo = [rest for chunk in chunks if (rest := journal.rest(chunk))]
            yield source, chunks, journal, todo

    with process_pool(nj) as pool:
        undone = ([j for chunk in todo for j in chunk.jobs] for *_, todo in plan())
        new, samples, bad = check_headers(undone, fs, pool)
        if bad:
            raise BadAudio(bad, target)
        if new:
            check_disk(target, int(samples), fmt)
            (target / "wav.scp").unlink(missing_ok=True)  # absent: not complete
            audio_dir.mkdir(parents=True, exist_ok=True)
            for rest in audio_dir.glob(".*.tmp"):
                rest.unlink()
        loud: dict[str, float] = {}
        files: set[str] = set()
        total, parts = 0, 0
        with (
            writing_data_dir(target) as add,
            tqdm(total=new, desc=target.name, unit="utt", mininterval=1) as bar,
        ):
            for source, chunks, journal, todo in plan():
                parts += 1
                results = pool.map(run_chunk, todo)
                for chunk, result in zip(todo, results, strict=True):
                    journal.add(result.done)
                    bad |= result.bad
                    loud |= result.loud
                    bar.update(len(chunk.jobs))
                if bad:
                    continue
                utts = (utt for chunk in chunks for utt in chunk.marks)
                wanted = {utt: journal.entries[utt] for utt in utts}
                add(tables_of(source, target, wanted))
                files.update(
                    name.partition(":")[0] for _, _, name, _ in wanted.values()
                )
                total += len(wanted)
                journal.close(wanted)
            if bad:
                raise BadAudio(bad, target)
            if not total:
                raise DataError(f"{target}: no utterance is left")
            remove_others(target, files, parts)
            notes = {"audio_format": fmt, "feats_type": "raw", "fs": fs}
            for name, note in notes.items():
                write_atomic(target / name, f"{note}\n")
    if loud:
        utt, peak = max(loud.items(), key=itemgetter(1))
        warn(
            f"{target}: {len(loud)} utterances were louder than full scale and are "
            f"scaled down to it, {utt} by {peak:.3g}"
        )
    return total, new


def journal_path(target: Path, part: int) -> Path:
    """Where the journal of a part is."""
    return target / (f".formatted.{part}" if part else ".formatted")


def tables_of(
    source: DataDir, target: Path, new: dict[str, list[str]]
) -> dict[str, dict[str, str]]:
    """The tables of a formatted part."""
    tables = {
        name: {utt: table[utt] for utt in new}
        for name, table in source.tables.items()
        if name not in NOT_COPIED
    }
    tables["utt2num_samples"] = {u: samples for u, (_, samples, *_) in new.items()}
    tables["wav.scp"] = {u: f"{target}/data/{n}" for u, (*_, n, _) in new.items()}
    return tables


def remove_others(target: Path, files: set[str], parts: int) -> None:
    """Remove audio and journals of earlier runs."""
    for old in (target / "data").iterdir():
        if old.name not in files:
            old.unlink()
    (target / "bad_audio.txt").unlink(missing_ok=True)
    while (journal := journal_path(target, parts)).exists():
        journal.unlink()
        parts += 1


@main_guard
def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fs", type=int, default=16000, help="sampling rate in Hz")
    parser.add_argument("--audio_format", choices=sorted(FORMATS), default="flac")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    parser.add_argument("src", metavar="SRC", help="data directory to read")
    parser.add_argument("dst", metavar="DST", help="data directory to write")
    add_allow_pipes(parser)
    add_skip_bad_audio(parser)
    args = parser.parse_args(argv)
    if args.fs < 1000 or args.nj < 1:
        raise DataError("--fs must be at least 1000 (Hz) and --nj at least 1")
    if Path(args.src).resolve() == Path(args.dst).resolve():
        raise DataError(f"{args.dst}: SRC and DST are the same directory")
    target = Path(args.dst)
    allow_pipes = args.allow_pipes == "true"
    total, new = format_dir(
        lambda: DataDir.parts(args.src, allow_pipes=allow_pipes),
        *(target, args.fs, args.audio_format, args.nj, args.skip_bad_audio == "true"),
    )
    print(f"{target}: {total} utterances, {new} of them written now")
