"""Confidences of the audio of an update, from a frozen scorer."""

from __future__ import annotations

from typing import Any

import torch

from espnet_a2m.confidence.interface import Scores
from espnet_a2m.confidence.measures import quantise, utterance_confidence
from espnet_a2m.confidence.registry import build_scorer
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.frames import padding_mask


class OnlineScorer:
    """A scorer that computes confidences while training, on the frames of ``grid``.

    It gives the numbers that scoring the same audio ahead and keeping one byte per
    frame would, and is no part of the model in training. Arguments are those of
    `build_scorer`.

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
        """Score (B, N) samples, of (B,) lengths, as one byte per frame keeps them.

        Returns `Scores` with s_u; confidences beyond the frames of an utterance are 0.
        """
        with torch.no_grad():
            answer = self.scorer.score(speech, speech_lengths)
            confidence, lengths, s_u = Scores(*answer)
            if s_u is None:
                s_u = utterance_confidence(confidence, lengths)
        padding = padding_mask(lengths, confidence.size(1))
        return Scores(quantise(confidence).masked_fill(padding, 0.0), lengths, s_u)
