"""Any recogniser at all, through the times and confidences of its words: CTM files."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.core.errors import DataError, UserError, listed, preview
from espnet_a2m.core.files import file_digest
from espnet_a2m.core.frames import FrameGrid

#: What recognisers write where nobody speaks
SILENCE = {"<eps>", "sil", "<sil>", "!sil", "[sil]", "<silence>", "[silence]"}
#: Types of NIST's seventh column that are no speech
NO_SPEECH = {"noise", "misc", "non-lex"}
ROUNDING = 1e-3  # by which a confidence may leave [0, 1]
END_SLACK = 0.5  # seconds after the audio's end that a word may start, and be left out
COLUMNS = "`<utt> <channel> <start> <duration> <word> <confidence>`"


class Word(NamedTuple):
    """A recognised word: times in seconds, confidence in [0, 1]."""

    start: float
    duration: float
    word: str
    confidence: float


def parse_word(fields: Sequence[str], is_alignment: bool = False) -> Word | None:
    """One line's columns after utterance and channel; None where nobody speaks.

    Words of an alignment need no confidence, and get 1.

    Raises:
        ValueError: Names the column.
    """
    if is_alignment and len(fields) >= 3:
        fields = [*fields[:3], "1", *fields[4:]]
    if len(fields) == 3 or (len(fields) > 3 and fields[3].upper() == "NA"):
        raise ValueError(
            f"no confidence: let the recogniser write a sixth column, {COLUMNS}"
        )
    if not 4 <= len(fields) <= 6:  # NIST adds a type and a speaker
        raise ValueError(f"expected {COLUMNS}, and perhaps NIST's type and speaker")
    start, duration, confidence = (float(fields[i]) for i in (0, 1, 3))
    if not (0 <= start < np.inf and 0 <= duration < np.inf):
        raise ValueError(
            f"start {start} and duration {duration} must be seconds, from 0"
        )
    if not -ROUNDING <= confidence <= 1 + ROUNDING:
        raise ValueError(f"confidence {confidence} is not within [0, 1]")
    if fields[2].lower() in SILENCE or NO_SPEECH.intersection(fields[4:5]):
        return None
    return Word(start, duration, fields[2], min(1.0, max(0.0, confidence)))


def first_alternatives(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Numbers and columns of a CTM's lines, without comments.

    Of the alternatives in ``<ALT_BEGIN> ... <ALT> ... <ALT_END>`` only the first.

    Raises:
        ValueError: Alternatives do not end.
    """
    begin, is_other = 0, False
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        mark = fields[-1].upper() if "*" in fields[2:4] else ""
        if mark == "<ALT_BEGIN>" and not begin:
            begin = number
        elif mark == "<ALT>" and begin:
            is_other = True
        elif mark == "<ALT_END>" and begin:
            begin, is_other = 0, False
        elif not is_other:
            yield number, fields
    if begin:
        raise ValueError(f"{begin}: <ALT_BEGIN> without <ALT_END>")


def read_ctm(
    path: str | Path, channel: str | None = None, is_alignment: bool = False
) -> dict[str, list[Word]]:
    """Read `<utt> <channel> <start> <duration> <word> <confidence>` lines.

    As NIST, Kaldi and NeMo write them: comments (``;;``), alternatives (the first
    counts), two more columns, a byte order mark; silence is no word.

    Args:
        path: The file.
        channel: The only one to read; an utterance with several is an error if None.
        is_alignment: Confidences are not read and may be missing.

    Returns:
        Utterance -> its words by their start.

    Raises:
        DataError: Lines are not as they must be, or the file is missing or has no word.
    """
    words: dict[str, list[Word]] = {}
    channels: dict[str, str] = {}
    errors: list[str] = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        rows = list(first_alternatives(lines))
    except (FileNotFoundError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: no CTM file in UTF-8: {e}") from e
    except ValueError as e:
        raise DataError(f"{path}:{e}") from e
    for number, fields in rows:
        utt_id, *rest = fields
        if channel is not None and rest[:1] != [channel]:
            continue
        try:
            word = parse_word(rest[1:], is_alignment)
            if channels.setdefault(utt_id, rest[0]) != rest[0]:
                raise ValueError(
                    f"{utt_id} has the channels {channels[utt_id]} and {rest[0]}: "
                    "name one (channel=...), or an utterance a channel"
                )
        except ValueError as e:
            errors.append(f"{path}:{number}: {e}")
            continue
        if word is not None:
            words.setdefault(utt_id, []).append(word)
    if errors:
        raise DataError(listed(errors))
    if not words:
        of = "" if channel is None else f" of channel {channel}"
        raise DataError(f"{path}: no words{of} in it")
    return {utt_id: sorted(found) for utt_id, found in words.items()}


def word_frames(
    words: Iterable[Word], grid: FrameGrid, num_frames: int
) -> Iterator[tuple[Word, slice]]:
    """Each word with the frames whose centres it covers."""
    seconds = (grid.offset + grid.stride * np.arange(num_frames)) / grid.fs
    for word in words:
        ends = np.searchsorted(seconds, [word.start, word.start + word.duration])
        yield word, slice(*ends.tolist())


class CTMScorer(Scorer):
    """A frame has the confidence of the word over its centre that starts last.

    Args:
        file: CTM; its first column holds the utterances of ``wav.scp``, of which the
            times are.
        gap: Confidence where there is no word.
        frame_shift: Distance between frames in seconds.
        fs: Sampling rate of the audio in Hz.
        channel: The only one of the file to read, such as ``A``.

    Raises:
        DataError: See :func:`read_ctm`.
        ValueError: A gap outside [0, 1], a frame shift below a sample.
    """

    works_on_crops = False

    def __init__(
        self,
        file: str,
        gap: float = 0.0,
        frame_shift: float = 0.01,
        fs: int = 16000,
        channel: str | None = None,
    ):
        stride = round(frame_shift * fs)
        if not 0 <= gap <= 1:
            raise ValueError(f"gap={gap} is not within [0, 1]")
        if stride < 1:
            raise ValueError(f"frame_shift={frame_shift} s is less than a sample")
        self.file, self.gap = file, gap
        self.words = read_ctm(file, None if channel is None else str(channel))
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
        """(T,) confidences. Raises DataError: a word starts long after the
        audio's end.
        """
        num_frames = self.grid.num_frames(num_samples)
        confidence = np.full(num_frames, self.gap, dtype=np.float32)
        words = self.words.get(utt_id, [])
        for found, frames in word_frames(words, self.grid, num_frames):
            late = found.start - num_samples / self.grid.fs
            if late > 0:
                message = (
                    f"{self.file}: {utt_id}: {found.word!r} starts at {found.start} s, "
                    f"but the audio ends at {num_samples / self.grid.fs:.2f} s"
                )
                if late > END_SLACK:
                    raise DataError(f"{message}: times must be within the utterance")
                logging.warning(f"{message}: left out")
                continue
            confidence[frames] = found.confidence
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
