"""Checks every utterance as it is read, then applies ESPnet's augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from espnet2.train.preprocessor import CommonPreprocessor

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.frames import FrameGrid


def check_speech(utt_id: str, speech: np.ndarray) -> None:
    """Raise :class:`DataError` unless ``speech`` is (N,) finite samples."""
    if speech.ndim != 1:
        raise DataError(
            f"wav.scp: utterance {utt_id} has {speech.shape[1]} channels; "
            "pre-training takes one: format the audio again (bin.data format_wav)"
        )
    if len(speech) == 0:
        raise DataError(f"wav.scp: utterance {utt_id} has no samples: remove it")
    if not np.isfinite(speech).all():
        raise DataError(
            f"wav.scp: utterance {utt_id} has NaN or infinite samples: fix or remove it"
        )


def stream_frames(
    data: dict, stream: str, grid: FrameGrid | None, name: str, fix: str
) -> np.ndarray:
    """(T,) values of a stream; raise :class:`DataError` unless they fit the audio."""
    if grid is None:
        raise DataError(
            f"a stream named {stream} is given without --{stream.rstrip('s')}_grid: "
            f"give the grid.json that lies beside {stream}.scp"
        )
    values = np.asarray(data[stream]).reshape(-1)
    if not len(values):
        raise DataError(f"{name} has no frames: {fix}")
    grid.check_num_frames(len(values), len(data["speech"]), name, fix)
    return values


def check_confidence(confidence: np.ndarray, name: str, fix: str) -> None:
    """Raise :class:`DataError` unless (T,) ``confidence`` are numbers in [0, 1]."""
    low, high = confidence.min(), confidence.max()  # NaN where a value is
    if not np.isfinite([low, high]).all():
        raise DataError(f"{name} has NaN or infinite values: {fix}")
    if low < 0 or high > 1:
        raise DataError(
            f"{name} has values in [{low:g}, {high:g}], outside [0, 1]: {fix}"
        )


def check_labels(labels: np.ndarray, name: str, num_classes: int | None) -> None:
    """Raise :class:`DataError` unless (T,) ``labels`` are classes of the objective."""
    low, high = labels.min(), labels.max()
    if low < 0 or (num_classes is not None and high >= num_classes):
        raise DataError(
            f"{name} has labels {low} to {high}, but the objective on labels has "
            f"num_classes: {num_classes}: give it the number of clusters of the labels"
        )


class A2MPreprocessor(CommonPreprocessor):
    """Checks that name the utterance, then ESPnet's augmentation.

    Args:
        train: Augment (rir, noise) or not.
        confidence_grid: Frame grid of the ``confidence`` stream, if there is one.
        label_grid: Frame grid of the ``labels`` stream, if there is one.
        num_classes: Classes of the objective that predicts the labels.
        **kwargs: Arguments of ESPnet's ``CommonPreprocessor``.
    """

    def __init__(
        self,
        train: bool,
        confidence_grid: FrameGrid | None,
        label_grid: FrameGrid | None = None,
        num_classes: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(train=train, token_type=None, **kwargs)
        self.confidence_grid = confidence_grid
        self.label_grid = label_grid
        self.num_classes = num_classes

    def __call__(self, uid: str, data: dict) -> dict:
        """Check and augment one utterance.

        Raises:
            DataError: The audio or its confidences cannot be trained on.
        """
        check_speech(uid, data["speech"])
        if "confidence" in data:
            name = f"confidence.scp: utterance {uid}"
            fix = "score the set again (bin.score)"
            grid = self.confidence_grid
            confidence = stream_frames(data, "confidence", grid, name, fix)
            data["confidence"] = confidence.astype(np.float32)
            check_confidence(data["confidence"], name, fix)
        if "utterance_confidence" in data:
            s_u = data["utterance_confidence"]
            if s_u.shape != (1,) or not 0 <= s_u[0] <= 1:
                raise DataError(
                    f"utt2conf: utterance {uid} has {s_u.tolist()}, not one number in "
                    "[0, 1]: score the set again (bin.score)"
                )
        if "labels" in data:
            name = f"labels.scp: utterance {uid}"
            fix = "label this set again (bin.labels)"
            labels = stream_frames(data, "labels", self.label_grid, name, fix)
            data["labels"] = labels.astype(np.int64)
            check_labels(data["labels"], name, self.num_classes)
        return super().__call__(uid, data)
