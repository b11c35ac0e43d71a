"""Real speech, scored by its loudness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import soundfile

from espnet_a2m.confidence.energy import EnergyScorer
from espnet_a2m.confidence.score_set import score_set
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.tables import write_table
from espnet_a2m.evaluation.scored_set import ScoredDataset

GRID = FrameGrid(fs=16000, offset=480.0, stride=640)


def scored_speech(
    root: Path, utterances: Sequence[tuple[str, Path, str]]
) -> ScoredDataset:
    """Write ``root/data`` and ``root/confidence`` of (id, flac file, transcript)."""
    chosen = sorted(utterances)
    write_table(root / "data/wav.scp", {utt: path for utt, path, _ in chosen})
    samples = {utt: soundfile.info(path).frames for utt, path, _ in chosen}
    write_table(root / "data/utt2num_samples", samples)
    score_set(root / "data", root / "confidence", EnergyScorer(), {})
    return ScoredDataset.load(root / "data", root / "confidence")
