"""Where frames sit in time: rates, receptive fields and offsets, in one place.

Every module that turns a sequence into a shorter one (STFT, convolution) maps one grid
of frame centres to another. Following them from the waveform gives the sample at which
each frame of scorer and encoder is centred.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import write_atomic

#: (kernel, stride, padding) along time
TimeConv = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class FrameGrid:
    """Frame ``i`` is centred at sample ``offset + i * stride``."""

    fs: int  # sampling rate of the waveform in Hz
    offset: float  # centre of frame 0 in samples
    stride: int  # distance between frames in samples

    @classmethod
    def of_convs(cls, fs: int, convs: Iterable[TimeConv]) -> FrameGrid:
        """The grid of the frames that ``convs`` make of the waveform."""
        return cls(fs=fs, offset=0.0, stride=1).after(convs)

    def after(self, convs: Iterable[TimeConv]) -> FrameGrid:
        """The grid of the frames that leave ``convs`` when these enter."""
        offset, stride = self.offset, self.stride
        for kernel, step, padding in convs:
            offset += stride * ((kernel - 1) / 2 - padding)
            stride *= step
        return dataclasses.replace(self, offset=offset, stride=stride)

    def num_frames(self, num_samples: int) -> int:
        """Frames whose complete receptive field is in ``num_samples`` samples.

        Within one frame for front ends other than a centre-padded STFT with unpadded
        convolutions.
        """
        return max(0, int((num_samples - 2 * self.offset) // self.stride) + 1)

    def lengths(self, num_samples: torch.Tensor) -> torch.Tensor:
        """:meth:`num_frames` of each of (B,) numbers of samples."""
        # float64: samples of a long recording are beyond float32's integers
        frames = (num_samples.double() - 2 * self.offset).div(
            self.stride, rounding_mode="floor"
        )
        return (frames.long() + 1).clamp(min=0)

    def check_num_frames(
        self, found: int, num_samples: int, what: str, fix: str
    ) -> None:
        """Raise DataError unless ``found`` frames are the audio's, give or take one.

        The message says ``what`` has them, and the ``fix``.
        """
        expected = self.num_frames(num_samples)
        if abs(found - expected) > 1:
            raise DataError(
                f"{what} has {found} frames, but its {num_samples} samples make "
                f"{expected}: {fix}"
            )

    def save(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_atomic(path, json.dumps(dataclasses.asdict(self)) + "\n")

    @classmethod
    def load(cls, source: str | Path | dict[str, Any]) -> FrameGrid:
        """Read what :meth:`save` wrote, or take its dictionary. Raises DataError."""
        try:
            if isinstance(source, dict):
                grid = cls(**source)
            else:
                grid = cls(**json.loads(Path(source).read_text(encoding="utf-8")))
            if not all(isinstance(x, int) and x > 0 for x in (grid.fs, grid.stride)):
                raise ValueError("fs and stride must be integers above 0")
            if not math.isfinite(grid.offset):
                raise ValueError("offset must be a number")
        except (OSError, ValueError, TypeError, OverflowError, RecursionError) as e:
            raise DataError(
                f"{source}: not a frame grid ({e}). It is written beside "
                "confidence.scp (bin.score) and labels.scp (bin.labels): run them again"
            ) from e
        return grid


def frame_positions(
    source: FrameGrid,
    target: FrameGrid,
    num_frames: int,
    source_lengths: torch.Tensor,
    speech_start: torch.Tensor | None = None,
) -> torch.Tensor:
    """(B, T') fractional indices of one grid's frames into another's, clipped to them.

    Args:
        source: Grid of the uncropped utterances.
        target: Grid of frames of the audio at hand.
        num_frames: T', frames of the target in the padded batch.
        source_lengths: (B,) numbers of the source's frames.
        speech_start: (B,) first sample of the audio inside the cropped utterance.
    """
    frames = torch.arange(num_frames, device=source_lengths.device)
    centre = (target.offset + frames * target.stride).expand(len(source_lengths), -1)
    if speech_start is not None:
        centre = speech_start[:, None] + centre
    position = (centre - source.offset) / source.stride
    last = (source_lengths - 1).clamp(min=0)[:, None]
    return torch.minimum(position.clamp(min=0), last)


def interpolate_frames(
    values: torch.Tensor,
    lengths: torch.Tensor,
    source: FrameGrid,
    target: FrameGrid,
    num_frames: int,
    speech_start: torch.Tensor | None = None,
) -> torch.Tensor:
    """(B, T') values at the centres of another grid's frames, interpolated linearly.

    Args:
        values: (B, T) of the source's frames.
        lengths: (B,) numbers of these.
        source, target, num_frames, speech_start: As of :func:`frame_positions`.
    """
    position = frame_positions(source, target, num_frames, lengths, speech_start)
    left = position.floor()
    last = (lengths - 1).clamp(min=0)[:, None]
    right = torch.minimum(left + 1, last)
    return torch.lerp(
        values.gather(1, left.long()),
        values.gather(1, right.long()),
        (position - left).to(values),
    )


def padding_mask(lengths: torch.Tensor, num_frames: int) -> torch.Tensor:
    """(B, T) True beyond the first ``lengths`` (B,) of ``num_frames`` frames."""
    return torch.arange(num_frames, device=lengths.device) >= lengths[:, None]


def conv_lengths(lengths: torch.Tensor, convs: Iterable[TimeConv]) -> torch.Tensor:
    """(B,) frames after ``convs`` of (B,) input frames; 0 where these are too few."""
    for kernel, stride, padding in convs:
        lengths = (lengths + 2 * padding - kernel).div(
            stride, rounding_mode="floor"
        ) + 1
        lengths = lengths.clamp(min=0)
    return lengths
