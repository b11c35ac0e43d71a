"""Confidences of batches of audio: of a set, or inside the training step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from espnet_a2m.confidence import check_measure, frame_confidence, quantise
from espnet_a2m.scorer.espnet import ESPnetScorer


class OnlineScorer:
    """A frozen scorer with its measure, for the audio of a training step.

    Called, it gives the numbers that scoring the same audio ahead and keeping one byte
    per frame would. It is no ``torch.nn.Module``, so that a model that holds one has
    none of the scorer's parameters: checkpoints, optimisers and
    DistributedDataParallel do not see it.

    Args:
        model_file: Parameters of an ESPnet ASR model with CTC.
        config_file: Its configuration; ``config.yaml`` beside it when None.
        measure: See :func:`espnet_a2m.confidence.frame_confidence`, as for the next.
        blank: How the blank enters the measure.
        temperature: Divides the log posteriors.

    Attributes:
        grid: Where the frames are in the audio.

    Raises:
        UserError: A file is missing, does not fit the other, or has no CTC.
        ValueError: Options of the measure that do not go together.
    """

    def __init__(
        self,
        model_file: str,
        config_file: str | None = None,
        measure: str = "max_prob",
        blank: str = "include",
        temperature: float = 1.0,
    ):
        check_measure(measure, blank, temperature)
        self.measure = measure
        self.blank = blank
        self.temperature = temperature
        self.scorer = ESPnetScorer(model_file, config_file)
        self.grid = self.scorer.grid

    def score(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score a batch in float32, without gradients, on the audio's device.

        Args:
            speech: (B, N) samples; anything beyond the lengths.
            speech_lengths: (B,) samples.

        Returns:
            (B, T) confidences in [0, 1], anything beyond the frames of an utterance,
            and (B,) numbers of frames.
        """
        if speech.device != self.scorer.device:
            self.scorer.to(speech.device)
        # the training's autocast must not reach the scorer
        with torch.no_grad(), torch.autocast(speech.device.type, enabled=False):
            logits, lengths = self.scorer.logits(speech.float(), speech_lengths)
            confidence = frame_confidence(
                logits,
                self.measure,
                self.blank,
                self.temperature,
                self.scorer.blank_id,
            )
            return confidence, lengths

    def of_utterances(
        self, batch: Sequence[np.ndarray], device: str = "cpu"
    ) -> list[np.ndarray]:
        """Unquantised (T,) confidences of each of some (N,) float32 samples."""
        lengths = torch.tensor([len(speech) for speech in batch])
        speech = pad_sequence([torch.from_numpy(s) for s in batch], batch_first=True)
        confidence, frames = self.score(speech.to(device), lengths)
        rows = zip(confidence.cpu().numpy(), frames.tolist(), strict=True)
        return [row[:count] for row, count in rows]

    def __call__(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`score`, as one byte per frame keeps it, and 0 beyond the frames."""
        confidence, lengths = self.score(speech, speech_lengths)
        frames = torch.arange(confidence.size(1), device=speech.device)
        outside = frames >= lengths[:, None]
        return quantise(confidence).masked_fill(outside, 0.0), lengths
