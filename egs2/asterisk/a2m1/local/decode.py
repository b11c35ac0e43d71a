"""Decode G.722 prompts to 16 kHz flac files, in parallel; existing ones are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import atomic_writer
from espnet_a2m.data.formatting.format_jobs import process_pool

FS = 16000
SAMPLES_PER_BYTE = 2  # 64 kbit/s at 16 kHz


def g722_samples(path: Path) -> int:
    """Length of a G.722 file in samples."""
    return path.stat().st_size * SAMPLES_PER_BYTE


def read_g722(path: Path) -> np.ndarray:
    """Decode a G.722 file to int16 samples at 16 kHz. Raises DataError."""
    import av

    try:
        with av.open(str(path), format="g722") as container:
            frames = [f.to_ndarray().reshape(-1) for f in container.decode(audio=0)]
    except av.FFmpegError as error:
        raise DataError(f"{path}: cannot be decoded as G.722 ({error})") from None
    samples = np.concatenate(frames) if frames else np.zeros(0, np.int16)
    if len(samples) != g722_samples(path) or samples.dtype != np.int16:
        raise DataError(
            f"{path}: decoded to {len(samples)} {samples.dtype} samples, expected "
            f"{g722_samples(path)}; remove downloads/ and run again"
        )
    return samples


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write int16 samples at 16 kHz, atomically."""
    import soundfile

    with atomic_writer(path) as stream:
        soundfile.write(stream, samples, FS, "PCM_16", format="FLAC")


def _decode(pair: tuple[Path, Path]) -> None:
    source, target = pair
    write_flac(target, read_g722(source))


def _is_done(source: Path, target: Path) -> bool:
    import soundfile

    return target.exists() and soundfile.info(target).frames == g722_samples(source)


def decode_all(pairs: Iterable[tuple[Path, Path]], nj: int) -> None:
    """Decode the (g722, flac) pairs that are not done yet; see `read_g722`."""
    run_all(_decode, [pair for pair in pairs if not _is_done(*pair)], nj, "decode")


def run_all(function: Callable, jobs: Sequence, nj: int, title: str) -> None:
    """Call a function for each job, in `nj` processes."""
    with process_pool(nj) as pool:
        done = pool.map(function, jobs)
        for _ in tqdm(done, title, len(jobs), unit="prompt", disable=not jobs):
            pass
