"""Brings the scorer's confidences to the frames that the encoder masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from espnet_a2m.confidence.online import OnlineScorer
from espnet_a2m.core.errors import DataError
from espnet_a2m.core.frames import FrameGrid, interpolate_frames


def check_rate(name: str, grid: FrameGrid, encoder_grid: FrameGrid) -> None:
    """Raise ValueError unless a stream is of audio of the encoder's sampling rate."""
    if grid.fs != encoder_grid.fs:
        raise ValueError(
            f"the {name} were computed from {grid.fs} Hz audio, but frontend_conf.fs "
            f"is {encoder_grid.fs}: compute them from the audio that is trained on"
        )


def read_stream(
    streams: Mapping[str, Any], name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) values of a stream of frames and their (B,) lengths; raises DataError."""
    if name not in streams:
        raise DataError(
            f"the data have no stream named {name}, but the option of its grid is "
            "given: add --{train,valid}_data_path_and_name_and_type "
            f".../{name}.scp,{name},kaldi_ark"
        )
    return streams[name], streams[f"{name}_lengths"]


class ConfidenceFrontend:
    """Confidences at the encoder's frames, read from a stream or computed.

    Not a module: a scorer that runs while training is no part of the model, its
    checkpoints or its optimiser.

    Args:
        encoder_grid: Of the encoder's frames, in the audio that it gets.
        scorer_grid: Of the stream ``confidence``, in the uncropped utterance; None
            without that stream.
        scorer: Computes confidences of the audio at hand in place of the stream.

    Raises:
        ValueError: Both are given, or sampling rates differ.
    """

    def __init__(
        self,
        encoder_grid: FrameGrid,
        scorer_grid: FrameGrid | None = None,
        scorer: OnlineScorer | None = None,
    ):
        if scorer is not None:
            if scorer_grid is not None:
                raise ValueError(
                    "confidences are either read (--confidence_grid) or computed "
                    "(--online_scorer_conf): give one of them"
                )
            scorer_grid = scorer.grid
        if scorer_grid is not None:
            check_rate("confidences", scorer_grid, encoder_grid)
        self.encoder_grid = encoder_grid
        self.scorer_grid = scorer_grid
        self.scorer = scorer

    def __call__(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        num_frames: int,
        streams: Mapping[str, Any],
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Interpolate linearly at the centres of the encoder's frames.

        Args:
            speech: (B, N) waveforms.
            speech_lengths: (B,) samples.
            num_frames: T', the encoder's frames in the padded batch.
            streams: ``confidence`` (B, T) of the uncropped utterances with
                ``confidence_lengths``, ``speech_start`` where they were cropped, and
                ``utterance_confidence`` (B, 1), if it is known.

        Returns:
            (B, T') confidences, or None where there are none; (B,) s_u of the
            complete utterances, or None where it is not known.

        Raises:
            DataError: The stream is missing.
        """
        if self.scorer_grid is None:
            return None, None
        speech_start = None
        if self.scorer is not None:
            confidence, lengths, s_u = self.scorer(speech, speech_lengths)
        else:
            confidence, lengths = read_stream(streams, "confidence")
            speech_start = streams.get("speech_start")
            s_u = streams.get("utterance_confidence")
            s_u = None if s_u is None else s_u.flatten()
        grids = self.scorer_grid, self.encoder_grid
        confidence = interpolate_frames(
            confidence, lengths, *grids, num_frames, speech_start
        )
        return confidence, s_u
