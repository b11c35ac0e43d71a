"""Commands in wav.scp, such as "sph2pipe -f wav a.sph |", run only when asked for.

The one place that runs anything that a data directory holds: `--allow_pipes true`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.audio import Recording
from espnet_a2m.data.tables import is_command

LIMIT_SECONDS = 600  # one recording; beyond it, a command waits for what never comes


def add_allow_pipes(parser: argparse.ArgumentParser) -> None:
    """Add the option without which a command in wav.scp is an error."""
    parser.add_argument(
        "--allow_pipes",
        choices=("true", "false"),
        default="false",
        help="run the commands in wav.scp: whoever wrote it may do what you may",
    )


def open_recording(audio: str, folder: Path, channel: int | None = None) -> Recording:
    """Open a file as `Recording`, or what a command ("... |") writes.

    Its output is in `folder`, without a name once it is open.
    """
    if not is_command(audio):
        return Recording(audio, channel)
    with tempfile.NamedTemporaryFile(prefix=".pipe.", suffix=".tmp", dir=folder) as out:
        run_command(audio, out)
        return Recording(out.name, channel, name=audio)


def run_command(entry: str, output: IO[bytes]) -> None:
    """Run "<command> |" by bash, as Kaldi does, but a failure anywhere in it counts."""
    command = entry.strip().removesuffix("|")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,  # to end all of it
        )
        try:
            status = process.wait(LIMIT_SECONDS)
            problem = f"failed with status {status}"
        except subprocess.TimeoutExpired:
            status, problem = -1, f"has not ended after {LIMIT_SECONDS} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - 500))
            said = " ".join(errors.read().decode(errors="replace").split())
            raise DataError(
                f"{entry}: the command {problem}: {said or 'it said nothing'}; correct "
                "it in wav.scp, or remove its utterances"
            )
