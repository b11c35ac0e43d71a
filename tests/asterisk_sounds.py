"""The genuine Asterisk core sounds for tests, fetched once by the recipe itself."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "egs2" / "asterisk" / "a2m1"
CACHE = Path(os.environ.get("A2M_CACHE", ROOT / ".cache" / "asterisk"))


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of ours with this interpreter's environment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    bin_folder = Path(sys.executable).parent
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


@functools.cache
def asterisk_downloads() -> Path:
    """Folder with `sounds/` as local/get_sounds.py leaves it; skips without network."""
    result = run(
        sys.executable, RECIPE / "local" / "get_sounds.py", "--downloads", CACHE
    )
    if result.returncode:
        pytest.skip(f"no Asterisk sounds: {result.stderr.strip().splitlines()[-1]}")
    return CACHE
