"""What the command lines share whose work can be divided between jobs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence

from espnet_a2m.core.errors import UserError


def add_job_options(option: Callable[..., object]) -> None:
    """Add ``--nj`` and ``--job``."""
    option("--nj", type=int, default=1, help="Jobs that a set is divided between [1]")
    option(
        "--job", type=int, help="Which of them this is, from 1; without: the last step"
    )


def check_job(args: argparse.Namespace) -> int:
    """Which job this is; 1 without ``--job``.

    Raises:
        UserError: There is no such job.
    """
    job = 1 if args.job is None else args.job
    if not 1 <= job <= args.nj:
        raise UserError(f"--job {job} must be from 1 to --nj {args.nj}")
    return job


def job_command(name: str, words: Sequence[str]) -> Callable[[int], str]:
    """How to run one of the jobs of ``espnet_a2m.bin.<name>`` with these options."""
    start = ["python", "-m", f"espnet_a2m.bin.{name}", *words]
    return lambda job: shlex.join([*start, "--job", str(job)])
