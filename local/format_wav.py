#!/usr/bin/env python3
"""Cut segments, apply speeds and resample: one audio file per utterance (stage 3).

Usage: format_wav.py --fs 16000 --audio_format flac --nj 4 data/train dump/raw/train

A run that is interrupted goes on where it stopped; a run whose input or options have
changed makes again what has changed. Both end with the same files as one clean run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from format_jobs import (
    FORMATS,
    Job,
    Journal,
    check_disk,
    check_segment,
    make_chunks,
    process_pool,
    run_chunk,
)
from tqdm import tqdm
from wav_pipes import add_allow_pipes

from espnet_a2m.audio_files import AudioInfo, audio_info
from espnet_a2m.datadir import (
    DataDir,
    DataError,
    main_guard,
    write_atomic,
    write_data_dir,
)
from espnet_a2m.kaldi_table import is_command

NOT_COPIED = ("utt2speed", "utt2num_samples")  # applied here; made here


def jobs_of(source: DataDir) -> list[Job]:
    """One job per utterance; times in seconds, end None for the whole recording."""
    speeds = source.tables.get("utt2speed", {})
    jobs = []
    for utt in source.utts:
        if source.segments is None:
            part = Job(utt, source.wav_scp[utt], 0.0, None, 1.0)
        else:
            recording, start, end, channel = source.segments[utt]
            part = Job(utt, source.wav_scp[recording], start, end, 1.0, channel)
        try:
            speed = float(speeds.get(utt, "1.0"))
        except ValueError:
            raise DataError(
                f"{source.path}/utt2speed: {utt}: {speeds[utt]!r} is not a number"
            ) from None
        jobs.append(part._replace(speed=speed))
    return jobs


def check_headers(jobs: list[Job], fs: int, nj: int) -> int:
    """Open every recording; return how many samples the outputs will have, about.

    What commands will write is not known before they are run.

    Raises:
        DataError: recordings that cannot be used, segments outside of them.
    """
    paths = list(
        dict.fromkeys((j.audio, j.channel) for j in jobs if not is_command(j.audio))
    )
    errors, infos, total, clipped = [], {}, 0.0, 0
    with process_pool(nj) as pool:
        found = pool.map(_info_or_error, paths, chunksize=64)
        bar = tqdm(found, "headers", len(paths), unit="file", disable=len(paths) < 500)
        for path, info in zip(paths, bar, strict=True):
            if isinstance(info, str):
                errors.append(info)
            else:
                infos[path] = info
    for job in jobs:
        info = infos.get((job.audio, job.channel))
        if info is None:
            continue
        length = info.frames / info.rate
        end = length if job.end is None else job.end
        try:
            check_segment(job, info)
        except DataError as error:
            errors.append(f"{job.utt}: {error}")
        clipped += end > length + 0.5 / info.rate
        total += max(0.0, min(end, length) - job.start) / job.speed * fs
    raise_all(errors)
    if clipped:
        print(f"{clipped} segments end just after their recording: cut there")
    low = [path for path, info in infos.items() if info.rate < fs]  # file, channel
    if low:
        print(
            f"WARNING: {len(low)} of {len(paths)} recordings have a lower rate than "
            f"{fs} Hz, e.g. {low[0][0]} ({infos[low[0]].rate} Hz)",
            file=sys.stderr,
        )
    return int(total)


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


def format_dir(source: DataDir, target: Path, fs: int, fmt: str, nj: int) -> int:
    """Write the formatted copy of `source`; return how many utterances were made now.

    Raises:
        DataError: unusable audio (all of it is looked at first), a full disk.
    """
    audio_dir = target / "data"
    chunks = make_chunks(jobs_of(source), audio_dir, fs, fmt)
    journal = Journal(target / ".formatted")
    todo = [rest for chunk in chunks if (rest := journal.rest(chunk))]
    jobs = [job for chunk in todo for job in chunk.jobs]
    if jobs:
        check_disk(target, check_headers(jobs, fs, nj), fmt)
        (target / "wav.scp").unlink(missing_ok=True)  # absent: not complete
        audio_dir.mkdir(parents=True, exist_ok=True)
        for rest in audio_dir.glob(".*.tmp"):
            rest.unlink()
        errors: list[str] = []
        with (
            process_pool(nj) as pool,
            tqdm(total=len(jobs), desc=target.name, unit="utt", mininterval=1) as bar,
        ):
            results = pool.map(run_chunk, todo)
            for chunk, (done, bad) in zip(todo, results, strict=True):
                journal.add(done)
                errors += bad
                bar.update(len(chunk.jobs))
        raise_all(errors, target / "bad_audio.txt")
    wanted = {utt: journal.entries[utt] for chunk in chunks for utt in chunk.marks}
    finish(source, target, fs, fmt, wanted)
    journal.close(wanted)
    return len(jobs)


def finish(
    source: DataDir, target: Path, fs: int, fmt: str, made: dict[str, list[str]]
) -> None:
    """Write the tables of the formatted directory and remove audio of earlier runs."""
    files = {name.partition(":")[0] for _, _, name, _ in made.values()}
    for old in (target / "data").iterdir():
        if old.name not in files:
            old.unlink()
    (target / "bad_audio.txt").unlink(missing_ok=True)
    tables = {n: t for n, t in source.tables.items() if n not in NOT_COPIED}
    tables["utt2num_samples"] = {u: samples for u, (_, samples, *_) in made.items()}
    notes = {"audio_format": fmt, "feats_type": "raw", "fs": fs}
    for name, note in notes.items():
        write_atomic(target / name, f"{note}\n")
    paths = {utt: f"{target}/data/{name}" for utt, (_, _, name, _) in made.items()}
    write_data_dir(target, paths, tables)


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
    args = parser.parse_args(argv)
    if args.fs < 1000 or args.nj < 1:
        raise DataError("--fs must be at least 1000 (Hz) and --nj at least 1")
    source = DataDir.load(args.src, allow_pipes=args.allow_pipes == "true")
    if Path(args.src).resolve() == Path(args.dst).resolve():
        raise DataError(f"{args.dst}: SRC and DST are the same directory")
    target = Path(args.dst)
    made = format_dir(source, target, args.fs, args.audio_format, args.nj)
    print(f"{target}: {len(source.utts)} utterances, {made} of them made now")


if __name__ == "__main__":
    main()
