"""Run our commands, each in its own process, as the stages do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from espnet_a2m.data.datadir import write_data_dir
from helpers.forking import python

ROOT = Path(__file__).resolve().parents[2]
#: Real speech that is committed with the tests
SPEECH = ROOT / "tests" / "speech"
#: More of it, which may be missing
TEST_DATA = Path(os.environ.get("A2M_TEST_DATA", ROOT.parent / "shared" / "data"))


def command(program: str, *arguments: object) -> list[str]:
    """A command line of espnet_a2m.bin, such as "data format_wav"."""
    words = ["-m", *f"espnet_a2m.bin.{program}".split(), *map(str, arguments)]
    imports_espnet = not program.startswith("data ")
    return python(*words) if imports_espnet else [sys.executable, *words]


def environment(**more: str) -> dict[str, str]:
    """The environment that the driver sets, and more."""
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **ours, **more}


def run(
    program: str, *arguments: object, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its exit status."""
    return subprocess.run(
        command(program, *arguments),
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=300,
    )


def ok(program: str, *arguments: object, cwd: Path | None = None) -> str:
    """Run a command that must succeed; returns its output."""
    result = run(program, *arguments, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout


def refused(program: str, *arguments: object, cwd: Path | None = None) -> str:
    """Run a command that must fail; returns its message."""
    result = run(program, *arguments, cwd=cwd)
    assert result.returncode == 1
    assert "ERROR: " in result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.partition("ERROR: ")[2]


def make_dir(folder: Path, audio: dict[str, Path], **tables: dict[str, str]) -> Path:
    """Write a data directory; utterances are named <speaker>-<anything>."""
    speakers = {utt: utt.partition("-")[0] for utt in audio}
    write_data_dir(folder, audio, {"utt2spk": speakers, **tables})
    return folder
