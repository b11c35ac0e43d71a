"""Confidences of the audio of a training step, from a frozen scorer."""

from __future__ import annotations

from typing import Any

import torch

from espnet_a2m.confidence.interface import Scores
from espnet_a2m.confidence.measures import quantise, utterance_confidence
from espnet_a2m.confidence.registry import build_scorer
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import padding_mask


class OnlineScorer:
    """A scorer that computes confidences while training.

    It gives the numbers that scoring the same audio ahead and keeping one byte per
    frame would, and is no part of the model in training.

    Args:
        scorer: Its name, see :mod:`espnet_a2m.confidence.registry`.
        conf: Its options.

    Attributes:
        grid: Where the frames are in the audio.

    Raises:
        UserError: The scorer cannot be built, or needs uncropped utterances.
    """

    def __init__(self, scorer: str = "espnet", **conf: Any):
        self.scorer = build_scorer(scorer, conf, "online_scorer_conf")
        if not self.scorer.works_on_crops:
            raise UserError(
                f"online_scorer_conf: scorer={scorer} works on uncropped utterances "
                "only, but training crops them: score the sets first (bin.score) and "
                "give their confidences as a stream"
            )
        self.grid = self.scorer.grid

    def __call__(self, speech: torch.Tensor, speech_lengths: torch.Tensor) -> Scores:
        """Score a batch as one byte per frame keeps it.

        Args:
            speech: (B, N) samples; anything beyond the lengths.
            speech_lengths: (B,) samples.

        Returns:
            `Scores` with all three: (B, T) confidences, 0 beyond the frames of an
            utterance, (B,) numbers of frames and (B,) s_u.
        """
        with torch.no_grad():
            scores = Scores(*self.scorer.score(speech, speech_lengths))
            confidence, lengths, s_u = scores
            if s_u is None:
                s_u = utterance_confidence(confidence, lengths)
        padding = padding_mask(lengths, confidence.size(1))
        return Scores(quantise(confidence).masked_fill(padding, 0.0), lengths, s_u)
