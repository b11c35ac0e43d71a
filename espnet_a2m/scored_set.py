"""A data directory together with the confidences that a scorer gave it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from espnet_a2m.errors import DataError, few
from espnet_a2m.frame_grid import FrameGrid
from espnet_a2m.kaldi_ark import read_array
from espnet_a2m.kaldi_table import PathLike, read_counts, read_scp
from espnet_a2m.scoring import read_audio


@dataclasses.dataclass
class ScoredSet:
    """A data directory with its confidences.

    Attributes:
        data: The formatted data directory.
        audio: Utterance -> entry of ``wav.scp``.
        source: Utterance -> entry of ``confidence.scp``.
        grid: Where the frames are.
        language: Utterance -> ``utt2lang``; empty where there is none.
        num_samples: Utterance -> ``utt2num_samples``; empty where there is none.
    """

    data: Path
    audio: dict[str, str]
    source: dict[str, str]
    grid: FrameGrid
    language: dict[str, str]
    num_samples: dict[str, int]

    @classmethod
    def load(cls, data: PathLike, confidence: PathLike) -> ScoredSet:
        """Open the directories.

        Raises:
            DataError: A file is missing, or an utterance has no confidences.
        """
        data = Path(data)
        audio = read_scp(data / "wav.scp")
        scp = Path(confidence) / "confidence.scp"
        source = read_scp(scp)
        if missing := [utt for utt in audio if utt not in source]:
            raise DataError(
                f"{scp}: {len(missing)} of {len(audio)} utterances of {data} are "
                f"missing: {few(missing)}; score the set again (stage 8)"
            )
        language_path, samples_path = data / "utt2lang", data / "utt2num_samples"
        language = read_scp(language_path) if language_path.exists() else {}
        samples = read_counts(samples_path) if samples_path.exists() else {}
        for path, table in ((language_path, language), (samples_path, samples)):
            if table and (missing := [utt for utt in audio if utt not in table]):
                raise DataError(f"{path}: lacks {few(missing)}; complete it")
        grid = FrameGrid.load(Path(confidence) / "grid.json")
        return cls(data, audio, source, grid, language, samples)

    def confidence(self, utt: str) -> np.ndarray:
        """(T,) frame confidences in [0, 1] of an utterance.

        Raises:
            DataError: They are unreadable, NaN, out of range, or of another length
                than the audio.
        """
        source = self.source[utt]
        try:
            values = np.asarray(read_array(source), dtype=np.float64).reshape(-1)
        except DataError as e:
            raise DataError(
                f"confidences of {utt} cannot be read: {e}; score the set again "
                "(stage 8)"
            ) from None
        if not len(values) or not ((values >= 0) & (values <= 1)).all():
            raise DataError(
                f"{source}: confidences of {utt} are empty, NaN or outside [0, 1]; "
                "score the set again (stage 8)"
            )
        if utt in self.num_samples:
            expected = self.grid.num_frames(self.num_samples[utt])
            if abs(len(values) - expected) > 1:
                raise DataError(
                    f"{source}: {utt} has {len(values)} confidences, its "
                    f"{self.num_samples[utt]} samples give {expected}; score the set "
                    "again (stage 8)"
                )
        return values

    def seconds(self, utt: str, num_frames: int) -> float:
        """Length of an utterance, from ``num_frames`` where samples are not known."""
        samples = self.num_samples.get(utt, num_frames * self.grid.stride)
        return samples / self.grid.fs

    def speech(self, utt: str) -> np.ndarray:
        """(N,) float32 samples in [-1, 1] of an utterance."""
        return read_audio(utt, self.audio[utt], self.grid.fs)
