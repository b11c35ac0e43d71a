"""Eq. 2 for any model with CTC: from its posteriors to frame confidences."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from espnet_a2m.confidence.interface import Scorer, Scores
from espnet_a2m.confidence.measures import (
    check_measure,
    frame_confidence,
    utterance_confidence,
)


def model_digest(model: torch.nn.Module, configuration: Mapping[str, Any]) -> str:
    """SHA-256 of a model's parameters and buffers and of its configuration."""
    digest = hashlib.sha256()
    digest.update(json.dumps(configuration, sort_keys=True, default=str).encode())
    for name, values in model.state_dict().items():
        digest.update(name.encode())
        if values.is_floating_point():  # GlobalMVN's statistics take the audio's type
            values = values.float()
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()


class CTCScorer(Scorer):
    """A frozen CTC model and the measure of its confidence.

    It is no ``torch.nn.Module``, so that a model that holds one has none
    of its parameters: checkpoints, optimisers and DistributedDataParallel do not see
    it. It follows the audio to its device.

    Args:
        model: The model; it is frozen.
        configuration: What the model was built from, in JSON's types.
        measure, blank, temperature: As of `espnet_a2m.confidence.measures`.
        blank_id: Index of CTC's blank.

    Raises:
        ValueError: Options of the measure that do not go together.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        configuration: Mapping[str, Any],
        measure: str,
        blank: str,
        temperature: float,
        blank_id: int,
    ):
        check_measure(measure, blank, temperature)
        self.model: Any = model.requires_grad_(False).eval()
        self.configuration = configuration
        self.measure, self.blank, self.temperature = measure, blank, temperature
        self.blank_id = blank_id
        self.device = torch.device("cpu")

    @cached_property
    def description(self) -> dict[str, Any]:  # type: ignore[override]
        """The measure and what is in the model, wherever its files lie."""
        return {
            "measure": self.measure,
            "blank": self.blank,
            "temperature": self.temperature,
            "sha256": model_digest(self.model, self.configuration),
        }

    @abstractmethod
    def logits(
        self, speech: torch.Tensor, speech_lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log posteriors up to a constant per frame.

        Args:
            speech: (B, N) float32 samples on the model's device; anything beyond the
                lengths.
            speech_lengths: (B,) samples, there too.

        Returns:
            (B, T, V) and (B,) numbers of frames; 0 frames where an utterance is too
            short.
        """

    def score(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        utt_ids: Sequence[str] | None = None,
    ) -> Scores:
        """Score a batch in float32, without gradients, on the audio's device.

        s_u of eq. 9 includes the blank, whatever the frames do: how sure the model is
        of an utterance shows in its silences too.
        """
        if speech.device != self.device:
            self.device = speech.device
            self.model.to(self.device)
        # the autocast of training must not reach the scorer
        with torch.no_grad(), torch.autocast(speech.device.type, enabled=False):
            audio = speech.float(), speech_lengths.to(self.device)
            logits, lengths = self.logits(*audio)
            options = self.temperature, self.blank_id
            confidence = frame_confidence(logits, self.measure, self.blank, *options)
            with_blank = confidence
            if self.blank != "include":
                with_blank = frame_confidence(logits, self.measure, "include", *options)
            # in float64, so that a batch's padding does not change it
            s_u = utterance_confidence(with_blank.double(), lengths).float()
        return Scores(confidence, lengths, s_u)
