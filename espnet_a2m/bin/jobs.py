"""Options of the commands that write a set in shards."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from espnet_a2m.core.errors import UserError

if TYPE_CHECKING:
    from espnet_a2m.data.shards import Shard


def add_job_options(option: Callable[..., object]) -> None:
    """Add ``--nj`` and ``--job``."""
    option("--nj", type=int, default=1, help="Jobs that a set is divided between [1]")
    option("--job", type=int, help="Which of them this is, from 1; without: merge them")


def parse_shard(args: argparse.Namespace) -> Shard | None:
    """What this command does of a set; None to merge what the jobs have done.

    Raises:
        UserError: There is no such job.
    """
    from espnet_a2m.data.shards import Shard

    job = 1 if args.job is None else args.job
    if not 1 <= job <= args.nj:
        raise UserError(f"--job {job} must be from 1 to --nj {args.nj}")
    return None if args.job is None and args.nj > 1 else Shard(job, args.nj)


def job_command(name: str, words: Sequence[str]) -> Callable[[int], str]:
    """How to run one of the jobs of ``espnet_a2m.bin.<name>`` with these options."""
    start = ["python", "-m", f"espnet_a2m.bin.{name}", *words]
    return lambda job: shlex.join([*start, "--job", str(job)])
