"""Confidences on disk: one byte per frame beside float32 arrays of numpy.

Both are read as a training reads them, through ESPnet's readers, in random order and
from the system's file cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import kaldiio
import numpy as np

from benchmarks.masks import smooth_confidence
from benchmarks.report import Row
from benchmarks.timing import interleave
from espnet_a2m.confidence.score_set import COMPRESSION_METHOD

FRAME_RATE = 25
MAX_CACHE_FD = 32  # ESPnet's default: archives that a reader keeps open


def corpus(hours: float) -> dict[str, np.ndarray]:
    """Utterance -> (T, 1) confidences; utterances of 4 to 20 s."""
    rng = np.random.default_rng(1)
    left = int(hours * 3600 * FRAME_RATE)
    table: dict[str, np.ndarray] = {}
    while left > 0:
        frames = min(left, int(rng.integers(4 * FRAME_RATE, 20 * FRAME_RATE)))
        confidence = smooth_confidence(1, frames, rng)[0]
        table[f"utterance{len(table):06d}"] = confidence.astype(np.float32)[:, None]
        left -= frames
    return table


def write(root: Path, table: dict[str, np.ndarray]) -> tuple[int, int]:
    """Write ``confidence.ark`` and one npy file per utterance; bytes of each."""
    ark = root / "confidence.ark"
    kaldiio.save_ark(
        str(ark),
        table,
        scp=str(root / "confidence.scp"),
        compression_method=COMPRESSION_METHOD,
    )
    lines = []
    for utt_id, confidence in table.items():
        np.save(root / f"{utt_id}.npy", confidence[:, 0])
        lines.append(f"{utt_id} {root / utt_id}.npy\n")
    (root / "npy.scp").write_text("".join(lines))
    npy = sum(path.stat().st_size for path in root.glob("*.npy"))
    return ark.stat().st_size, npy


def measure(hours: float = 1.0, rounds: int = 25) -> list[Row]:
    """The rows of this group."""
    from espnet2.train.dataset import DATA_TYPES

    table = corpus(hours)
    order = np.random.default_rng(2).permutation(list(table))
    at = f"{hours:g} h at {FRAME_RATE} Hz"
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        ark_bytes, npy_bytes = write(root, table)
        ark = DATA_TYPES["kaldi_ark"]["func"](
            str(root / "confidence.scp"), max_cache_fd=MAX_CACHE_FD
        )
        npy = DATA_TYPES["npy"]["func"](str(root / "npy.scp"))
        samples = interleave(
            {
                "ours": lambda: [ark[utt_id] for utt_id in order],
                "npy": lambda: [npy[utt_id] for utt_id in order],
            },
            rounds,
        )
    return [
        Row.compare(
            "confidences on disk, size",
            at,
            "float32 npy",
            [ark_bytes],
            [npy_bytes],
            3.0,
            unit="kB",
            scale=1e-3,
        ),
        Row.compare(
            "confidences on disk, reading",
            at,
            "float32 npy",
            samples["ours"],
            samples["npy"],
            1.0,
        ),
    ]
