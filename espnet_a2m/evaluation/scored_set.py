"""A data directory with its confidences."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import PathLike
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.data.archives import read_array
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.tables import Keys, iter_scp, join_utterances, to_count


@dataclasses.dataclass
class ScoredDataset:
    """A data directory with its confidences, or a random sample of its utterances."""

    data: Path  # the formatted data directory
    scores: Path  # the directory of its confidences
    audio: dict[str, str]  # utterance -> entry of wav.scp
    source: dict[str, str]  # utterance -> entry of confidence.scp
    utterance: dict[str, float]  # utterance -> s_u of utt2conf, which need not be there
    grid: FrameGrid  # where the frames are
    language: dict[str, str]  # utterance -> utt2lang, which need not be there
    num_samples: dict[str, int]  # utterance -> utt2num_samples, which need not be there
    total: int  # utterances of the directory

    @classmethod
    def load(
        cls, data: PathLike, confidence: PathLike, most: int | None = None
    ) -> ScoredDataset:
        """Open the directories; take at random ``most`` utterances, None: all.

        Raises DataError: a file is missing, or an utterance has no confidences.
        """
        data, confidence = Path(data), Path(confidence)
        needed = data / "wav.scp", confidence / "confidence.scp"
        others = confidence / "utt2conf", data / "utt2lang", data / "utt2num_samples"
        paths = [*needed, *(path for path in others if path.exists())]
        total = len(Keys(data / "wav.scp"))
        chosen = np.ones(total, dtype=bool)
        if most is not None:
            chosen[np.random.default_rng(0).permutation(total)[most:]] = False
        tables: dict[Path, dict[str, str]] = {path: {} for path in (*needed, *others)}
        rows = join_utterances(
            [(path, iter_scp(path)) for path in paths],
            "complete it, or score the set again (bin.score)",
        )
        for utt, row in itertools.compress(rows, chosen):
            for path, value in zip(paths, row):
                tables[path][utt] = value
        audio, source, utterance, language, counts = tables.values()
        return cls(
            data,
            confidence,
            audio,
            source,
            utterance={utt: float(s_u) for utt, s_u in utterance.items()},
            grid=FrameGrid.load(confidence / "grid.json"),
            language=language,
            num_samples={u: to_count(n, others[-1], u) for u, n in counts.items()},
            total=total,
        )

    def confidence(self, utt: str) -> np.ndarray:
        """(T,) frame confidences in [0, 1] of an utterance.

        Raises:
            DataError: They are unreadable, NaN, out of range, or of another length
                than the audio.
        """
        source, fix = self.source[utt], "score the set again (bin.score)"
        name = f"{source}: confidences of {utt}"
        try:
            values = np.asarray(read_array(source), dtype=np.float64).reshape(-1)
        except DataError as e:
            raise DataError(f"{name} cannot be read: {e}; {fix}") from None
        if not len(values) or not ((values >= 0) & (values <= 1)).all():
            raise DataError(f"{name} are empty, NaN or outside [0, 1]; {fix}")
        if (samples := self.num_samples.get(utt)) is not None:
            where = f"{source}: utterance {utt}"
            self.grid.check_num_frames(len(values), samples, where, fix)
        return values

    def score(self, utt: str, confidence: np.ndarray) -> tuple[float, float]:
        """s_u of an utterance (eq. 9) and its seconds, from (T,) s_t if unknown."""
        samples = self.num_samples.get(utt, len(confidence) * self.grid.stride)
        s_u = self.utterance.get(utt, float(confidence.mean()))
        return s_u, samples / self.grid.fs

    def speech(self, utt: str) -> np.ndarray:
        """(N,) float32 samples in [-1, 1] of an utterance."""
        return read_audio(utt, self.audio[utt], self.grid.fs)
