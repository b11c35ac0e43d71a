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
JOBS = 4  # of scoring
SPLITS = 32  # of ESPnet's --multiple_iterator
SPLIT_DIR = Path("split32")
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

    score = python("-m", "espnet_a2m.bin.score", "--scorer", "energy")
    score += ["--scorer_conf", "fs=16000", "--data", str(DATA)]
    score += ["--output_dir", str(CONFIDENCE), "--nj", str(JOBS)]
    report = python("-m", "espnet_a2m.bin.confidence_report", "--data", DATA)
    report += ["--confidence", str(CONFIDENCE), "--outdir", "report"]
    split = python("-m", "espnet2.bin.split_scps", "--num_splits", SPLITS)
    split += ["--output_dir", str(SPLIT_DIR), "--log_level", "ERROR", "--scps"]
    split += [str(DATA / name) for name in ("wav.scp", "utt2num_samples")]
    split += [str(CONFIDENCE / "confidence.scp")]
    data = ("-m", "espnet_a2m.bin.data")
    formatting = (*data, "format_wav", "--audio_format", "wav.ark", RAW)
    subsample = python(*data, "subsample_hours", "--hours", 100, "--fs", 16000)
    subsample += ["--output_dir", "drawn", str(DATA / "utt2num_samples")]
    subsample += [str(DATA / "wav.scp"), str(CONFIDENCE / "confidence.scp")]
    filtering = (*data, "filter_lengths", "--max_wav_duration", 33, ORG)
    return {
        "make_index": here("make_index", count),
        "check": python(*data, "check_data_dir", RAW),
        "format": python(*formatting, "formatted"),
        "format_again": python(*formatting, "formatted"),
        "filter": python(*filtering, DATA),
        "make_scores": here("make_scores", count),
        "score_job": [*score, "--job", "2"],
        "score_merge": score,
        "report": report,
        "subsample_hours": subsample,
        "check_streams": here("check_streams"),
        "import_espnet": here("import_espnet"),
        "dataset": here("dataset"),
        "sampler": here("sampler"),
        "split": split,
        "split_dataset": here("split_dataset"),
        "split_sampler": here("split_sampler"),
    }


def streams() -> list[tuple[str, str, str]]:
    """What a training reads."""
    from benchmarks.synthetic_index import CONFIDENCE, DATA

    return [
        (str(DATA / "wav.scp"), "speech", "kaldi_ark"),
        (str(CONFIDENCE / "confidence.scp"), "confidence", "kaldi_ark"),
    ]


def one_split() -> tuple[list[tuple[str, str, str]], str]:
    """The same of one split, and its lengths."""
    paths = [(SPLIT_DIR / Path(path).name, *rest) for path, *rest in streams()]
    return [(f"{p}/split.0", n, t) for p, n, t in paths], str(
        SPLIT_DIR / "utt2num_samples" / "split.0"
    )


def run_step(step: str, count: int) -> None:
    """Do a step of this file in this process."""
    from benchmarks import synthetic_index

    if step == "make_index":
        synthetic_index.make_index(count)
    elif step == "make_scores":
        synthetic_index.make_scores(count)
    elif step == "check_streams":
        from espnet_a2m.data.streams import check_streams

        check_streams(streams())
    else:
        from espnet2.samplers.build_batch_sampler import build_batch_sampler
        from espnet2.train.dataset import ESPnetDataset

        paths, lengths = streams(), str(synthetic_index.DATA / "utt2num_samples")
        if step.startswith("split"):
            paths, lengths = one_split()
        if step.endswith("dataset"):
            ESPnetDataset(paths)
        elif step.endswith("sampler"):
            list(build_batch_sampler("numel", 1, BATCH_BINS, shape_files=[lengths]))


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
    parser.add_argument("--skip", nargs="+", default=[], metavar="STEP")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        run_step(args.step, args.count)
        return
    if args.folder is None or args.count % 1000:
        parser.error("--folder is needed, and a count of whole thousands")
    args.folder.mkdir(parents=True, exist_ok=True)
    os.chdir(args.folder)
    for name, command in steps(args.count).items():
        if (args.only and name not in args.only) or name in args.skip:
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
