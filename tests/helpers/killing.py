"""Interrupt a command by SIGKILL at random moments, restart it, check its files.

span = start(command, marker)              # seconds of work after the marker
kill_and_restart(command, 25, seed, check, finish, marker=marker, span=span)
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from helpers import forking

#: Interruptions of a test; raise it for a thorough run
KILLS = int(os.environ.get("A2M_KILLS", "2"))
POLL = 0.002


def take_interrupts() -> None:
    """For ``preexec_fn``: Ctrl-C works where tests run in the background, too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(
    command: Sequence[str],
    marker: str,
    kill_after: float | None = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    limit: float = 600,
) -> float | None:
    """Run a command, or interrupt its process group by SIGKILL.

    Args:
        command: Module and arguments.
        marker: Text that it prints when its imports are done and its work begins.
        kill_after: Seconds from the marker to the SIGKILL; None: there is none.
        cwd: Working directory.
        env: Added to the environment.
        limit: Seconds that it may take.

    Returns:
        Seconds from the marker to its end; None if it was interrupted.
    """
    with tempfile.TemporaryFile() as output:
        with open(os.devnull) as nothing:
            process = forking.Process(
                command,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                files=(nothing, output, output),
            )
        begun, deadline = None, time.monotonic() + limit
        try:
            while process.poll() is None:
                now = time.monotonic()
                assert now < deadline, f"{command} takes more than {limit} s"
                if begun is None:
                    size = os.fstat(output.fileno()).st_size
                    if marker.encode() in os.pread(output.fileno(), size, 0):
                        begun = now
                elif kill_after is not None and now >= begun + kill_after:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    return None
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
        assert process.returncode == 0, text[-3000:]
        assert marker in text, f"no {marker!r} in: {text[-3000:]}"
        return 0.0 if begun is None else time.monotonic() - begun


def kill_and_restart(
    command: Sequence[str],
    kills: int,
    seed: int,
    check: Callable[[], object],
    finish: Callable[[], object],
    *,
    marker: str,
    span: float,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> int:
    """Restart a command until it has been interrupted ``kills`` times.

    Args:
        command: Resumes where it was interrupted.
        kills: Number of interruptions.
        seed: Of the moments, which are uniform over ``span``.
        check: Called after each interruption.
        finish: Called after each complete run: compares its output, and removes it,
            so that the next run starts from scratch.
        marker: See :func:`start`.
        span: Seconds that an uninterrupted run takes after the marker.
        cwd: Working directory.
        env: Added to the environment.

    Returns:
        Number of complete runs.
    """
    moments = random.Random(seed)
    done = finished = 0
    while True:
        after = moments.uniform(0, span) if done < kills else None
        if start(command, marker, after, cwd, env) is None:
            done += 1
            check()
        else:
            finish()
            finished += 1
            if done == kills:
                return finished


def check_files(complete: Path, killed: Path, progress: Collection[str] = ()) -> None:
    """Assert that each file with its final name equals that of an uninterrupted run.

    Files whose name has a dot first or ``.tmp`` last are unfinished and left out, and
    so are those named in ``progress``, which grow while the command runs.
    """
    for path in killed.rglob("*"):
        name = path.relative_to(killed)
        if path.is_file() and not is_unfinished(path) and path.name not in progress:
            assert (complete / name).exists(), f"an uninterrupted run has no {name}"
            assert path.read_bytes() == (complete / name).read_bytes(), name


def is_unfinished(path: Path) -> bool:
    """Say whether its name marks it as incomplete."""
    return path.name.startswith(".") or path.suffix == ".tmp"


def finish_like(complete: Path, killed: Path) -> None:
    """Assert that two folders hold the same files, then remove the second."""

    def content(folder: Path) -> dict[str, bytes]:
        files = (p for p in folder.rglob("*") if p.is_file() and not is_unfinished(p))
        return {str(p.relative_to(folder)): p.read_bytes() for p in files}

    check_files(complete, killed)
    assert content(killed).keys() == content(complete).keys()
    shutil.rmtree(killed)
