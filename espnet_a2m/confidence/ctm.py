"""Any recogniser at all, through the times and confidences of its words: CTM files."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.core.errors import DataError, UserError, preview
from espnet_a2m.core.files import file_digest
from espnet_a2m.core.frames import FrameGrid


class Word(NamedTuple):
    """A recognised word: times in seconds, confidence in [0, 1]."""

    start: float
    duration: float
    word: str
    confidence: float


def parse_word(fields: Sequence[str]) -> Word:
    """One line's columns after utterance and channel.

    Raises ValueError: names the column.
    """
    if len(fields) != 4:
        problem = "no confidence, the sixth column: " if len(fields) == 3 else ""
        line = "`<utt> <channel> <start> <duration> <word> <confidence>`"
        raise ValueError(f"{problem}expected {line}")
    start, duration, confidence = (float(fields[i]) for i in (0, 1, 3))
    if not (0 <= start < np.inf and 0 <= duration < np.inf):
        raise ValueError(
            f"start {start} and duration {duration} must be seconds, from 0"
        )
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence {confidence} is not within [0, 1]")
    return Word(start, duration, fields[2], confidence)


def read_ctm(path: str | Path) -> dict[str, list[Word]]:
    """Read `<utt> <channel> <start> <duration> <word> <confidence>` lines.

    ``;;`` starts a comment. Returns utterance -> its words by their start. Raises
    DataError: a line is not as it must be, or the file is missing or has no word.
    """
    words: dict[str, list[Word]] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: no CTM file in UTF-8: {e}") from e
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields and not line.startswith(";;"):
            try:
                word = parse_word(fields[2:])
            except ValueError as e:
                raise DataError(f"{path}:{number}: {e}") from None
            words.setdefault(fields[0], []).append(word)
    if not words:
        raise DataError(f"{path}: no words in it")
    return {utt_id: sorted(found) for utt_id, found in words.items()}


class CTMScorer(Scorer):
    """A frame has the confidence of the word over its centre that starts last.

    Args:
        file: CTM; its first column holds the utterances of ``wav.scp``, of which the
            times are.
        gap: Confidence where there is no word.
        frame_shift: Distance between frames in seconds.
        fs: Sampling rate of the audio in Hz.

    Raises:
        DataError: See :func:`read_ctm`.
        ValueError: A gap outside [0, 1], a frame shift below a sample.
    """

    works_on_crops = False

    def __init__(
        self, file: str, gap: float = 0.0, frame_shift: float = 0.01, fs: int = 16000
    ):
        stride = round(frame_shift * fs)
        if not 0 <= gap <= 1:
            raise ValueError(f"gap={gap} is not within [0, 1]")
        if stride < 1:
            raise ValueError(f"frame_shift={frame_shift} s is less than a sample")
        self.file, self.gap = file, gap
        self.words = read_ctm(file)
        self.grid = FrameGrid(fs=fs, offset=stride / 2, stride=stride)
        self.description = {"sha256": file_digest(file)}

    def prepare(self, utt_ids: Collection[str]) -> None:
        """Warn of utterances without words and of words without an utterance."""
        silent = [utt_id for utt_id in utt_ids if utt_id not in self.words]
        unknown = self.words.keys() - set(utt_ids)
        if len(silent) == len(utt_ids):
            raise UserError(
                f"{self.file}: none of its {len(unknown)} utterances, such as "
                f"{preview(sorted(unknown), 1)}, is in wav.scp, which has "
                f"{preview(utt_ids, 1)}: the first column must be the utterance, not "
                "the recording"
            )
        if silent:
            logging.warning(
                f"{self.file}: no words in {len(silent)} of {len(utt_ids)} utterances "
                f"({preview(silent)}): confidence {self.gap} throughout"
            )
        if unknown:
            logging.warning(
                f"{self.file}: {len(unknown)} utterances are not in wav.scp "
                f"({preview(sorted(unknown))}): their words are not used"
            )

    def of_utterance(self, utt_id: str, num_samples: int) -> np.ndarray:
        """(T,) confidences. Raises DataError: a word starts after the audio's end."""
        grid = self.grid
        frames = np.arange(grid.num_frames(num_samples))
        seconds = (grid.offset + grid.stride * frames) / grid.fs
        confidence = np.full(len(frames), self.gap, dtype=np.float32)
        for start, duration, word, word_confidence in self.words.get(utt_id, []):
            if start * grid.fs > num_samples:
                raise DataError(
                    f"{self.file}: {utt_id}: {word!r} starts at {start} s, but the "
                    f"audio ends at {num_samples / grid.fs:.2f} s: times must be those "
                    "within the utterance"
                )
            begin, end = np.searchsorted(seconds, [start, start + duration])
            confidence[begin:end] = word_confidence
        return confidence

    def score(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        utt_ids: Sequence[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the base; the audio itself is not heard."""
        assert utt_ids is not None
        rows = [
            torch.from_numpy(self.of_utterance(utt_id, samples))
            for utt_id, samples in zip(utt_ids, speech_lengths.tolist(), strict=True)
        ]
        lengths = torch.tensor([len(row) for row in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths
