"""What is clustered: features of one utterance, on a known frame grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
import torchaudio

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.audio import read_audio


class Features(Protocol):
    """Turns the samples (N,) of an utterance into frames (T, F)."""

    grid: FrameGrid  # where the frames are: T is grid.num_frames(N)
    dim: int  # F
    description: dict[str, object]  # what tells these from others, in JSON's types

    def __call__(self, speech: np.ndarray) -> torch.Tensor: ...


def frames_of(
    features: Callable[[np.ndarray], torch.Tensor],
    utt_id: str,
    source: str,
    speech: np.ndarray,
) -> torch.Tensor:
    """Features (T, F) of one utterance, T >= 1, all of them finite.

    Raises DataError: the utterance is too short, or a feature is not finite.
    """
    frames = features(speech)
    if not len(frames):
        raise DataError(
            f"{source}: utterance {utt_id} ({len(speech)} samples) is too short for "
            "a frame: raise --min_wav_duration (bin.data filter_lengths)"
        )
    if not torch.isfinite(frames).all():
        raise DataError(
            f"{source}: utterance {utt_id} has features that are not finite: remove "
            "it, or use another layer or model (--layer, --model_file)"
        )
    return frames


def read_frames(features: Features, utt_id: str, source: str) -> torch.Tensor:
    """Read an utterance of a formatted ``wav.scp``; its features (T, F).

    Raises DataError: the audio cannot be read or has no usable features.
    """
    speech = read_audio(utt_id, source, features.grid.fs)
    return frames_of(features, utt_id, source, speech)


class MFCC:
    """HuBERT's features of the first round: 13 MFCC, deltas, delta-deltas.

    Kaldi's MFCC, unnormalised, every 10 ms from windows of 25 ms that lie wholly in
    the audio, so frame 0 is centred at 12.5 ms.

    Args:
        fs: Sampling rate in Hz.
    """

    dim = 39

    def __init__(self, fs: int):
        self.window = fs * 25 // 1000
        self.grid = FrameGrid(fs=fs, offset=self.window / 2, stride=fs // 100)
        self.description: dict[str, object] = {"features": "mfcc", "fs": fs}

    def __call__(self, speech: np.ndarray) -> torch.Tensor:
        """(N,) samples -> (T, 39)."""
        if len(speech) < self.window:
            return torch.empty(0, self.dim)
        options = {"sample_frequency": self.grid.fs, "use_energy": False}
        batch = torch.from_numpy(speech)[None]
        static = torchaudio.compliance.kaldi.mfcc(batch, **options).T
        deltas = torchaudio.functional.compute_deltas(static)
        delta_deltas = torchaudio.functional.compute_deltas(deltas)
        return torch.cat([static, deltas, delta_deltas]).T.contiguous()
