"""What a scorer is: anything that is more or less sure of each frame of audio."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from espnet_a2m.core.frames import FrameGrid


class Scores(NamedTuple):
    """What a scorer answers to a batch.

    ``lengths`` are the numbers of frames of the scorer's grid, at most one more or
    less; 0 where an utterance is too short.
    """

    confidence: torch.Tensor  # (B, T) in [0, 1], anything beyond an utterance's frames
    lengths: torch.Tensor  # (B,)
    utterance: torch.Tensor | None = None  # (B,) s_u of eq. 9; None: mean of the frames


class Scorer(ABC):
    """Base of all scorers; docs/scorers.md writes one in 20 lines.

    Options of the constructor are what ``--scorer_conf`` may give. A ``ValueError``
    that it raises is shown to the user as a mistake in these.

    Attributes:
        grid: Where the frames of the confidences are in the audio, and its sampling
            rate.
        description: What the scores depend on besides the options, such as a file's
            digest, in JSON's types; where it changes, a set is scored again.
        works_on_crops: Audio alone is enough to score any part of an utterance, as
            scoring while training needs.
    """

    grid: FrameGrid
    description: Mapping[str, Any] = {}
    works_on_crops: bool = True

    @abstractmethod
    def score(
        self,
        speech: torch.Tensor,
        speech_lengths: torch.Tensor,
        utt_ids: Sequence[str] | None = None,
    ) -> Scores | tuple[torch.Tensor, torch.Tensor]:
        """Confidences of a batch; those of an utterance may not depend on the others.

        Args:
            speech: (B, N) float samples in [-1, 1], on the device to compute on;
                anything beyond the lengths.
            speech_lengths: (B,) samples, on any device.
            utt_ids: Of the B utterances; None while training.

        Returns:
            `Scores`, or a tuple of its first two.
        """

    def bytes_needed(self, num_samples: int) -> int:
        """About what memory an utterance takes; 0: little more than its audio."""
        return 0

    def prepare(self, utt_ids: Collection[str]) -> None:  # noqa: B027  # optional
        """Called with all utterances of a set before the first batch of it.

        Raises UserError: the scorer does not know them.
        """
