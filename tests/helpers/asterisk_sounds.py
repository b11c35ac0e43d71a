"""The genuine Asterisk core sounds for tests, fetched once by the recipe itself."""

from __future__ import annotations

import fcntl
import functools
import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
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
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes, one downloads
        result = run(
            sys.executable, RECIPE / "local" / "get_sounds.py", "--downloads", CACHE
        )
    if result.returncode:
        pytest.skip(f"no Asterisk sounds: {result.stderr.strip().splitlines()[-1]}")
    return CACHE


@functools.cache
def prompts(shortest: float, longest: float) -> list[tuple[str, np.ndarray]]:
    """English prompts by name: text as it is written, int16 samples at 16 kHz.

    Args:
        shortest: in seconds.
        longest: in seconds.
    """
    import av

    sounds = asterisk_downloads() / "sounds"
    table = next(sounds.glob("core-sounds-en.txt*"))
    opened = gzip.open if table.suffix == ".gz" else open
    with opened(table, "rt", encoding="utf-8") as stream:
        texts = dict(line.split(": ", 1) for line in stream if ": " in line)
    found = []
    for name in sorted(texts):
        text = " ".join(texts[name].split())
        path = sounds / "en" / f"{name}.g722"
        seconds = path.stat().st_size / 8000 if path.exists() else 0
        if re.fullmatch(r"[A-Za-z,.'? ]+", text) and shortest <= seconds <= longest:
            with av.open(str(path), format="g722") as container:
                frames = [f.to_ndarray().reshape(-1) for f in container.decode(audio=0)]
            found.append((text, np.concatenate(frames)))
    return found
