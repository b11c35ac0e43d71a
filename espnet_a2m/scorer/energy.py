"""The label-free baseline as a scorer: how loud each frame is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.energy import energy_confidence
from espnet_a2m.scorer.interface import Scorer


class EnergyScorer(Scorer):
    """Level below the utterance's loudest frame, from 1 there to 0 at ``range_db``.

    The default grid is that of ESPnet's log-mel every 10 ms behind ``conv2d``; on the
    grid of the encoder that is trained, stored confidences are those of
    ``masking_conf.guidance: energy``.

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
                "range_db, fs and stride must be above 0, offset not below"
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
        confidence = energy_confidence(
            speech, heard, self.grid, num_frames, self.range_db
        )
        return confidence, frames
