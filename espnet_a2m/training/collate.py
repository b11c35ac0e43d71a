"""Batches of cropped and padded audio with the confidences of all of it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from espnet2.train.collate_fn import CommonCollateFn


class A2MCollateFn(CommonCollateFn):
    """Crops long audio and records where, so that confidences can be cropped alike.

    Args:
        fs: Sampling rate in Hz.
        random_crop: Crop anywhere (training), or at the start (validation).
        crop_duration: Longest audio in seconds, None for no limit. The paper
            crops to 32 s.
    """

    def __init__(self, fs: int, random_crop: bool, crop_duration: float | None = 32.0):
        super().__init__(
            float_pad_value=0.0, int_pad_value=-1, not_sequence=("speech_start",)
        )
        self.random_crop = random_crop
        self.num_samples = None if crop_duration is None else int(crop_duration * fs)

    def __call__(
        self, data: Collection[tuple[str, dict[str, np.ndarray]]]
    ) -> tuple[list[str], dict[str, torch.Tensor]]:
        """Collate (utterance id, {stream: array}) pairs into a batch.

        ``speech`` (N,) becomes (B, N) and ``confidence`` (T,) becomes (B, T),
        each with its ``*_lengths``; ``speech_start`` (B,) holds the first sample
        of each crop and is absent where nothing is ever cropped.
        """
        if (length := self.num_samples) is not None:
            data = [(utt_id, self.crop(streams, length)) for utt_id, streams in data]
        utt_ids, batch = super().__call__(data)
        if "speech_start" in batch:
            batch["speech_start"] = batch["speech_start"].flatten()
        return utt_ids, batch

    def crop(
        self, streams: dict[str, np.ndarray], num_samples: int
    ) -> dict[str, np.ndarray]:
        """Cut ``speech`` to ``num_samples`` and remember its first sample."""
        speech = streams["speech"]
        excess = len(speech) - num_samples
        start = np.random.randint(excess + 1) if self.random_crop and excess > 0 else 0
        return {
            **streams,
            "speech": speech[start : start + num_samples],
            "speech_start": np.array([start], dtype=np.int64),
        }
