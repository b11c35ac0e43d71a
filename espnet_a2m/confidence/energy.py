"""Confidences without labels or a model: how loud each frame is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from espnet_a2m.confidence.interface import Scorer
from espnet_a2m.core.frames import FrameGrid, padding_mask

#: Power below which a frame is digital silence: -120 dB of full scale
FLOOR = 1e-12
#: Level in dB of full scale of frames without any confidence: the last of 16 bits
SILENCE_DB = -90.0


def frame_level(
    speech: torch.Tensor, speech_lengths: torch.Tensor, grid: FrameGrid, num_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Level of the stride-wide window around each frame's centre.

    Args:
        speech: (B, N) samples in [-1, 1]; anything beyond the lengths.
        speech_lengths: (B,) samples.
        grid: Where the frames are in ``speech``.
        num_frames: T.

    Returns (B, T) level in dB of full scale, at least -120, without the window's mean
    (a constant is no sound), and (B, T) whether the window holds any sample.
    """
    inside = ~padding_mask(speech_lengths, speech.size(1))
    # windows follow each other without gap or overlap: cut them off the waveform
    begin = math.floor(grid.offset - grid.stride / 2)
    end = begin + num_frames * grid.stride

    def windows(samples: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(samples, (-begin, end - speech.size(1)))
        return padded.unflatten(1, (num_frames, grid.stride))

    samples, inside = windows(speech.float().where(inside, 0.0)), windows(inside)
    count = inside.sum(-1)
    mean = samples.sum(-1) / count.clamp(min=1)
    sound = (samples - mean[..., None]) * inside
    power = sound.square().sum(-1) / count.clamp(min=1)
    return 10 * power.clamp(min=FLOOR).log10(), count > 0


def energy_confidence(
    speech: torch.Tensor,
    speech_lengths: torch.Tensor,
    grid: FrameGrid,
    num_frames: int,
    range_db: float = 30.0,
) -> torch.Tensor:
    """A label-free baseline for eq. 2: 1 for the utterance's loudest frame.

    Arguments are those of `frame_level`, and how far below the loudest frame confidence
    reaches 0, in dB; between the two it is linear in dB. Silence has 0: at
    ``SILENCE_DB``, however quiet the rest of the utterance is.

    Returns:
        (B, T) confidences in [0, 1]; 0 where a frame has no audio.
    """
    level, has_audio = frame_level(speech, speech_lengths, grid, num_frames)
    loudest = level.masked_fill(~has_audio, -torch.inf).amax(1, keepdim=True)
    loudest = loudest.clamp(min=SILENCE_DB + range_db)
    confidence = 1 + (level - loudest) / range_db
    return confidence.clamp(0.0, 1.0).masked_fill(~has_audio, 0.0)


class EnergyScorer(Scorer):
    """Level below the utterance's loudest frame, from 1 there to 0 at ``range_db``.

    The default grid is that of ESPnet's log-mel every 10 ms behind ``conv2d``.

    Args:
        range_db: How far below the loudest frame confidence reaches 0, in dB.
        fs: Sampling rate in Hz.
        stride: Distance between frames in samples.
        offset: Centre of the first frame in samples.

    Raises:
        ValueError: A value that is not positive (``offset``: negative).
    """

    def __init__(
        self,
        range_db: float = 30.0,
        fs: int = 16000,
        stride: int = 640,
        offset: float = 480.0,
    ):
        if min(range_db, fs, stride) <= 0 or offset < 0:
            raise ValueError(
                "range_db, fs and stride must be above 0, offset 0 or above"
            )
        self.range_db = range_db
        self.grid = FrameGrid(fs=fs, offset=offset, stride=stride)

    def score(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        utt_ids: Sequence[str] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the base."""
        speech_lengths = speech_lengths.to(speech.device)
        frames = self.grid.lengths(speech_lengths)
        num_frames = self.grid.num_frames(speech.size(1))
        if num_frames == 0:
            return speech.new_zeros(len(speech), 0), frames
        # what an utterance has beyond its last frame is in no frame of its own, but
        # would be the loudest one's in a batch with a longer utterance
        end = self.grid.offset + (frames - 0.5) * self.grid.stride
        heard = torch.minimum(speech_lengths, end.floor().long())
        options = self.grid, num_frames, self.range_db
        return energy_confidence(speech, heard, *options), frames
