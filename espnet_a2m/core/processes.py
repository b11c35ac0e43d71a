"""Run commands at the same time, each with a log and, where there are any, GPUs."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

POLL = 0.1  # seconds between looks at the processes
GRACE = 10  # seconds to end after SIGTERM


class Job(NamedTuple):
    """A command, and the file that its output is added to."""

    name: str
    command: Sequence[str]
    log: Path


def find_gpus() -> list[str]:
    """GPUs of this machine: those of CUDA_VISIBLE_DEVICES, else all of them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not named:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        with contextlib.suppress(OSError):
            named = subprocess.run(query, capture_output=True, text=True).stdout
    return named.replace(",", " ").split()


def duration(seconds: float) -> str:
    """In words: "12 s", "3 min", "2 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def make_lanes(nj: int, ngpu: int) -> list[list[str]]:
    """GPUs of each of ``nj`` jobs at the same time, or of as many as there are for."""
    if not ngpu:
        return [[]] * nj
    gpus = find_gpus()
    lanes = [gpus[i : i + ngpu] for i in range(0, len(gpus) - ngpu + 1, ngpu)]
    return lanes[:nj] or [[]]  # the program says what is missing


def run_jobs(jobs: Sequence[Job], nj: int, ngpu: int = 0) -> list[Job]:
    """Run commands, ``nj`` at a time; returns those that failed.

    One that fails does not stop the others. An exception, such as KeyboardInterrupt,
    ends all of their processes.

    Args:
        jobs: The commands, in this order.
        nj: How many at the same time; fewer where there are GPUs for fewer.
        ngpu: GPUs of each, by CUDA_VISIBLE_DEVICES; 0: that is left as it is.
    """
    lanes = make_lanes(nj, ngpu)
    num_lanes = len(lanes)
    waiting = deque(jobs)
    running: dict[subprocess.Popen, tuple[Job, list[str], float]] = {}
    failed: list[Job] = []
    took: list[float] = []
    try:
        while waiting or running:
            while waiting and lanes:
                job, lane = waiting.popleft(), lanes.pop(0)
                tell(f"{job.name}: started, {job.log}")
                running[start(job, lane)] = job, lane, time.monotonic()
            ended = [process for process in running if process.poll() is not None]
            for process in ended:
                job, lane, begun = running.pop(process)
                lanes.append(lane)
                seconds = time.monotonic() - begun
                if process.returncode:
                    failed.append(job)
                    line = f"{job.name}: FAILED after {duration(seconds)}"
                else:
                    took.append(seconds)
                    line = f"{job.name}: done in {duration(seconds)}"
                left = len(waiting) + len(running)
                line += f"; {len(jobs) - left} of {len(jobs)}"
                if left and took:
                    rounds = math.ceil(left / num_lanes)
                    line += f", {duration(rounds * sum(took) / len(took))} left"
                names = ", ".join(other.name for other, *_ in running.values())
                tell(line + (f"; running: {names}" if names else ""))
            if not ended:
                time.sleep(POLL)
    finally:
        end(running)
    return failed


def tell(line: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%F %T')} {line}", flush=True)


def start(job: Job, gpus: Sequence[str]) -> subprocess.Popen:
    """Start a command in a process group of its own."""
    environment = dict(os.environ)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(f"# {shlex.join(job.command)}\n".encode())
        log.flush()
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def end(processes: Collection[subprocess.Popen]) -> None:
    """End processes with all that they have started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
