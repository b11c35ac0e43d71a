"""Brings the scorer's confidences to the frames that the encoder masks."""

from __future__ import annotations

import torch

from espnet_a2m.frame_grid import FrameGrid


class ConfidenceFrontend(torch.nn.Module):
    """Resamples confidences from the scorer's frames to the encoder's.

    Args:
        scorer_grid: Where the scorer's frames are centred, in the whole
            utterance.
        encoder_grid: Where the encoder's are, in the audio that it gets.

    Raises:
        ValueError: The two work at different sampling rates.
    """

    def __init__(self, scorer_grid: FrameGrid, encoder_grid: FrameGrid):
        super().__init__()
        if scorer_grid.fs != encoder_grid.fs:
            raise ValueError(
                f"the confidences were made from {scorer_grid.fs} Hz audio, but "
                f"frontend_conf.fs is {encoder_grid.fs}; score the audio that is "
                "trained on"
            )
        self.scorer_grid = scorer_grid
        self.encoder_grid = encoder_grid

    def forward(
        self,
        confidence: torch.Tensor,
        confidence_lengths: torch.Tensor,
        num_frames: int,
        speech_start: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Interpolate linearly at the centres of the encoder's frames.

        Args:
            confidence: (B, T) of the whole utterances.
            confidence_lengths: (B,) numbers of the scorer's frames.
            num_frames: T', the encoder's frames in the padded batch.
            speech_start: (B,) first sample of the audio inside the utterance
                where it was cropped; None where it is whole.

        Returns:
            (B, T') confidences. Before the scorer's first frame and after its
            last the nearest one holds.
        """
        source, target = self.scorer_grid, self.encoder_grid
        frames = torch.arange(num_frames, device=confidence.device)
        centre = target.offset + frames * target.stride  # samples
        if speech_start is not None:
            centre = speech_start[:, None] + centre
        else:
            centre = centre.expand(confidence.size(0), -1)
        position = (centre - source.offset) / source.stride
        last = (confidence_lengths - 1).clamp(min=0)[:, None]
        position = torch.minimum(position.clamp(min=0), last)
        left = position.floor()
        right = torch.minimum(left + 1, last)
        fraction = (position - left).to(confidence)
        return torch.lerp(
            confidence.gather(1, left.long()),
            confidence.gather(1, right.long()),
            fraction,
        )
