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


def check_confidence(
    utt_id: str, confidence: np.ndarray, num_samples: int, grid: FrameGrid
) -> None:
    """Raise :class:`DataError` unless (T,) ``confidence`` fits the audio."""
    fix = "score the set again (bin.score)"
    name = f"confidence.scp: utterance {utt_id}"
    if not np.isfinite(confidence).all():
        raise DataError(f"{name} has NaN or infinite values: {fix}")
    if confidence.size and not 0 <= confidence.min() <= confidence.max() <= 1:
        raise DataError(
            f"{name} has values in [{confidence.min():g}, {confidence.max():g}], "
            f"outside [0, 1]: {fix}"
        )
    if not len(confidence):
        raise DataError(f"{name} has no frames: {fix}")
    grid.check_num_frames(len(confidence), num_samples, name, fix)


def check_labels(
    utt_id: str,
    labels: np.ndarray,
    num_samples: int,
    grid: FrameGrid,
    num_classes: int | None,
) -> None:
    """Raise :class:`DataError` unless (T,) ``labels`` fit the audio and objective."""
    name = f"labels.scp: utterance {utt_id}"
    fix = "label this set again (bin.labels)"
    if not len(labels):
        raise DataError(f"{name} has no frames: {fix}")
    grid.check_num_frames(len(labels), num_samples, name, fix)
    if labels.min() < 0 or (num_classes is not None and labels.max() >= num_classes):
        raise DataError(
            f"{name} has labels {labels.min()} to {labels.max()}, but the objective "
            f"on labels has num_classes: {num_classes}: give it the number of clusters "
            "of the labels"
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
            if self.confidence_grid is None:
                raise DataError(
                    "a stream named confidence is given without --confidence_grid: "
                    "give the grid.json that lies beside confidence.scp"
                )
            confidence = np.asarray(data["confidence"], dtype=np.float32).reshape(-1)
            check_confidence(uid, confidence, len(data["speech"]), self.confidence_grid)
            data["confidence"] = confidence
        if "utterance_confidence" in data:
            s_u = data["utterance_confidence"]
            if s_u.shape != (1,) or not 0 <= s_u[0] <= 1:
                raise DataError(
                    f"utt2conf: utterance {uid} has {s_u.tolist()}, not one number in "
                    "[0, 1]: score the set again (bin.score)"
                )
        if "labels" in data:
            if self.label_grid is None:
                raise DataError(
                    "a stream named labels is given without --label_grid: give the "
                    "grid.json that lies beside labels.scp"
                )
            labels = np.asarray(data["labels"]).reshape(-1).astype(np.int64)
            check_labels(
                uid, labels, len(data["speech"]), self.label_grid, self.num_classes
            )
            data["labels"] = labels
        return super().__call__(uid, data)
