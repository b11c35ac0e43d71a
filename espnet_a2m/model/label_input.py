"""Brings pseudo-labels (bin.labels) to the frames that the encoder predicts them at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.frames import FrameGrid, frame_positions
from espnet_a2m.losses.objective import Objective
from espnet_a2m.model.frontend import check_rate, read_stream


class LabelInput:
    """The label nearest in time to each of the encoder's frames.

    Args:
        encoder_grid: Of the encoder's frames, in the audio that it gets.
        label_grid: Of the labels, in the uncropped utterance.

    Raises:
        ValueError: Sampling rates differ, or labels are sparser than frames.
    """

    def __init__(self, encoder_grid: FrameGrid, label_grid: FrameGrid):
        check_rate("labels", label_grid, encoder_grid)
        if label_grid.stride > encoder_grid.stride:
            per_ms = encoder_grid.fs / 1000
            raise ValueError(
                f"a label every {label_grid.stride / per_ms:g} ms is too few for "
                f"an encoder with a frame every {encoder_grid.stride / per_ms:g} ms: "
                "compute labels from features of a higher rate (bin.labels), or let "
                "the encoder subsample more (encoder_conf.input_layer)"
            )
        self.encoder_grid = encoder_grid
        self.label_grid = label_grid

    def __call__(self, num_frames: int, streams: Mapping[str, Any]) -> torch.Tensor:
        """Labels at the encoder's frames.

        Args:
            num_frames: T', the encoder's frames in the padded batch.
            streams: ``labels`` (B, T) of the uncropped utterances with
                ``labels_lengths``, and ``speech_start`` where they were cropped.

        Returns:
            (B, T') class ids; those beyond an utterance's frames are its last.

        Raises:
            DataError: The stream is missing.
        """
        labels, lengths = read_stream(streams, "labels")
        start = streams.get("speech_start")
        position = frame_positions(
            self.label_grid, self.encoder_grid, num_frames, lengths, start
        )
        return labels.long().gather(1, position.round().long())


def check_num_classes(label_grid: object, losses: Iterable[Objective]) -> None:
    """Refuse labels of fewer or more classes than an objective has.

    Args:
        label_grid: Path of bin.labels' grid.json, with labels.json beside it. Labels of
            other programs have none, and a trained model has the grid itself: then
            labels are looked at one by one.
        losses: The objectives.

    Raises:
        DataError: They differ.
    """
    if not isinstance(label_grid, str):
        return
    summary = Path(label_grid).with_name("labels.json")
    if not summary.exists():
        return
    found = json.loads(summary.read_text())["num_classes"]
    for loss in losses:
        if loss.num_classes not in (None, found):
            raise DataError(
                f"{summary.parent}: labels of {found} classes, but {loss.name} has "
                f"num_classes: {loss.num_classes}: run bin.labels with --num_clusters "
                f"{loss.num_classes}, or change the configuration"
            )
