"""Decode a set with ESPnet's asr_inference in parallel jobs.

Everything after -- is given to espnet2.bin.asr_inference. Writes OUTDIR/text and
the log of each job; shows the end of the first failing log.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from espnet_a2m.core.errors import UserError, main_guard
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.tables import read_scp, write_table


def run_job(
    args: argparse.Namespace, options: list[str], utt_ids: list[str], job: int
) -> tuple[subprocess.Popen, Path, Path]:
    """Start one job; returns its process, directory and log."""
    directory = args.outdir / "jobs" / str(job)
    directory.mkdir(parents=True, exist_ok=True)
    keys = directory / "keys"
    write_atomic(keys, "".join(f"{utt_id}\n" for utt_id in utt_ids))
    stream = f"{args.data / 'wav.scp'},speech,{args.type}"
    command = [sys.executable, "-m", "espnet2.bin.asr_inference", *options]
    command += ["--data_path_and_name_and_type", stream, "--key_file", str(keys)]
    command += ["--output_dir", str(directory)]
    log = args.outdir / f"asr_inference.{job}.log"
    with log.open("w") as f:
        process = subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1"},  # the jobs are the threads
            stdin=subprocess.DEVNULL,
            stdout=f,
            stderr=subprocess.STDOUT,
        )
    return process, directory, log


@main_guard
def main() -> None:
    """Decode a set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Data directory")
    parser.add_argument("--outdir", type=Path, required=True)
    parser.add_argument("--type", default="sound", help="ESPnet's type of wav.scp")
    parser.add_argument("--nj", type=int, default=1, help="Parallel jobs")
    parser.add_argument("options", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    options = [option for option in args.options if option != "--"]

    utt_ids = list(read_scp(args.data / "wav.scp"))
    nj = min(args.nj, len(utt_ids))
    jobs = [run_job(args, options, utt_ids[i::nj], i + 1) for i in range(nj)]
    failed = [log for process, _, log in jobs if process.wait() != 0]
    if failed:
        end = "\n".join(failed[0].read_text(errors="replace").splitlines()[-15:])
        raise UserError(
            f"{len(failed)}/{nj} decoding jobs failed; the end of {failed[0]}:\n{end}"
        )
    hypotheses: dict[str, str] = {}
    for _, directory, _ in jobs:
        # an utterance in which nothing was recognised has an empty line
        hypotheses |= read_scp(directory / "1best_recog" / "text", allow_empty=True)
    missing = sorted(set(utt_ids) - set(hypotheses))
    if missing:
        raise UserError(
            f"{args.outdir}: no hypothesis for {len(missing)} utterances, such as "
            f"{missing[0]}: see {jobs[0][2]}"
        )
    write_table(args.outdir / "text", hypotheses)
    print(f"decoded {len(hypotheses)} utterances: {args.outdir / 'text'}")


if __name__ == "__main__":
    main()
