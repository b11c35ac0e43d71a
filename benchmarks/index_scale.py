"""Seconds and peak memory of what the recipes do with the index of a large corpus.

    python -m benchmarks.index_scale 10000000 --folder /a/disk/with/12/GB
    python -m benchmarks.index_scale 1000000 --folder F --only sampler filter

Makes a synthetic index (synthetic_index.py) in the folder, unless it is there, and runs
the recipes' own programs on it, each in a process of its own; for ESPnet's dataset and
sampler, a process that does what a training does when it starts. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
JOBS = 1  # of scoring
SPLITS = 32  # of ESPnet's --multiple_iterator
BATCH_BINS = 16000 * 32 * 20  # 20 utterances of the paper's 32 s


def python(*words: object) -> list[str]:
    """A command of this Python."""
    return [sys.executable, *map(str, words)]


def here(step: str, *arguments: object) -> list[str]:
    """A step that is in this file."""
    return python("-m", "benchmarks.index_scale", "--step", step, *arguments)


def steps(count: int) -> dict[str, list[str]]:
    """Name -> command, in the order of the stages."""
    from benchmarks.synthetic_index import CONFIDENCE, DATA, ORG, RAW

    local = ROOT / "local"
    score = python("-m", "espnet_a2m.bin.score", "--scorer", "energy")
    score += ["--scorer_conf", "fs=16000", "--data", str(DATA)]
    score += ["--output_dir", str(CONFIDENCE)]
    return {
        "make_index": here("make_index", count),
        "check": python(local / "check_data_dir.py", RAW),
        "format": python(
            *(local / "format_wav.py", "--audio_format", "wav.ark"),
            *(RAW, "formatted"),
        ),
        "format_again": python(
            *(local / "format_wav.py", "--audio_format", "wav.ark"),
            *(RAW, "formatted"),
        ),
        "filter": python(
            local / "filter_lengths.py", "--max_wav_duration", 33, ORG, DATA
        ),
        "make_scores": here("make_scores", count),
        "score": score,
        "report": python(
            *("-m", "espnet_a2m.bin.confidence_report", "--data", DATA),
            *("--confidence", CONFIDENCE, "--outdir", "report"),
        ),
        "check_streams": here("check_streams"),
        "import_espnet": here("import_espnet"),
        "dataset": here("dataset"),
        "sampler": here("sampler"),
    }


def streams() -> list[tuple[str, str, str]]:
    """What a training reads."""
    from benchmarks.synthetic_index import CONFIDENCE, DATA

    return [
        (str(DATA / "wav.scp"), "speech", "kaldi_ark"),
        (str(CONFIDENCE / "confidence.scp"), "confidence", "kaldi_ark"),
    ]


def run_step(step: str, count: int) -> None:
    """Do a step of this file in this process."""
    from benchmarks import synthetic_index

    if step == "make_index":
        synthetic_index.make_index(count)
    elif step == "make_scores":
        synthetic_index.make_scores(count, JOBS)
    elif step == "check_streams":
        from espnet_a2m.streams import check_streams

        check_streams(streams())
    else:
        from espnet2.samplers.build_batch_sampler import build_batch_sampler
        from espnet2.train.dataset import ESPnetDataset

        if step == "dataset":
            ESPnetDataset(streams())
        elif step == "sampler":
            shapes = [str(synthetic_index.STATS / "speech_shape")]
            sampler = build_batch_sampler(
                "numel", 1, BATCH_BINS, shape_files=shapes, min_batch_size=1
            )
            list(sampler)


def measure(command: list[str]) -> tuple[int, float, float, int]:
    """Run it: exit status, seconds, CPU seconds and peak resident bytes.

    The peak is that of its largest process.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    cpu = usage.ru_utime + usage.ru_stime
    return os.waitstatus_to_exitcode(status), seconds, cpu, usage.ru_maxrss * 1024


def main() -> None:
    """Print a line for each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "count", type=int, nargs="?", default=100_000, help="utterances"
    )
    parser.add_argument("--folder", type=Path, help="where the index is made")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(args.step, args.count)
        return
    if args.folder is None:
        parser.error("--folder is needed")
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    for name, command in steps(args.count).items():
        if args.only and name not in args.only:
            continue
        status, seconds, cpu, peak = measure(command)
        failed = f" FAILED ({status})" if status else ""
        print(
            f"{name:<16} {args.count:>10} utterances {seconds:>8.1f} s "
            f"{cpu:>8.1f} s CPU {peak / 1e6:>8.0f} MB{failed}",
            flush=True,
        )


if __name__ == "__main__":
    main()
