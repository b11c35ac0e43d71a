"""Masks: guided, at exact coverage, beside what others draw uniformly or guided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch

from benchmarks import peers
from benchmarks.report import Row
from benchmarks.timing import interleave
from espnet_a2m.masking.guided import GuidedMasking

SPAN = 10
#: Share of frames that a span start falls on, times SPAN: covers 49 % of a long row.
START_PROB = 0.65
COVERAGE = 0.49
SIZES = ((32, 1000), (64, 1500), (256, 1500))
#: Ours as it is configured by default: ranks of what spans hold, spans that overhang
DEFAULT = "ours, span ranks"
#: peer -> (frames of the batch from which it counts, target)
TARGETS: dict[str, tuple[int, float]] = {
    "espnet": (64 * 1500, 80.0),
    "torchaudio": (64 * 1500, 80.0),
    "fairseq": (32 * 1000, 6.0),
    "fairseq, p = confidence": (32 * 1000, 7.0),
    "transformers, p = confidence": (32 * 1000, 2.0),
}


@contextmanager
def start_probabilities(confidence: np.ndarray) -> Iterator[None]:
    """Let the peers draw their starts with p = confidence.

    Both draw the starts of one row after the other by ``np.random.choice``, whose
    argument ``p`` does what eq. 3 asks for. What they draw afterwards (fairseq thins
    rows out) stays uniform.
    """
    plain = np.random.choice
    rows = iter(confidence)

    def choice(a, size, replace):
        row = next(rows, None)
        if row is None:
            return plain(a, size, replace=replace)
        p = row[: len(a) if np.ndim(a) else a]
        return plain(a, size, replace=replace, p=p / p.sum())

    with mock.patch.object(np.random, "choice", choice):
        yield


def smooth_confidence(batch: int, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(B, T) in (0, 1), float64, alike in neighbouring frames as a scorer's are."""
    noise = rng.standard_normal((batch, frames + 20)).cumsum(1)
    local = (noise[:, 20:] - noise[:, :-20]) / np.sqrt(20)
    return 1 / (1 + np.exp(-2 * local))


def candidates(batch: int, frames: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Implementations of drawing one batch's mask; those that are here."""
    from espnet2.ssl.utils.mask import _compute_mask_indices as espnet_masks
    from torchaudio.models.wav2vec2.components import (
        _compute_mask_indices as torchaudio_masks,
    )

    rng = np.random.default_rng(1)
    lengths = torch.from_numpy(rng.integers(frames // 2, frames + 1, batch))
    lengths[0] = frames
    padding = torch.arange(frames) >= lengths[:, None]
    confidence = smooth_confidence(batch, frames, rng)
    given = torch.from_numpy(confidence).float()
    # the peers' convention: spans inside, drawn by the confidence of their first frame
    literal = {"span_edges": "inside", "span_confidence": "first"}
    masking = GuidedMasking(1, COVERAGE, SPAN, rank_confidence=False, **literal)
    default = GuidedMasking(1, COVERAGE, SPAN)
    updates = torch.zeros(())
    shape = (batch, frames)

    runs: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: masking.draw(lengths, frames, given, updates),
        DEFAULT: lambda: default.draw(lengths, frames, given, updates),
        "espnet": lambda: espnet_masks(
            shape, padding, lengths.device, START_PROB, SPAN, min_masks=2
        ),
        "torchaudio": lambda: torchaudio_masks(
            shape, padding, START_PROB, SPAN, min_masks=2
        ),
    }

    def guided(draw: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def run():
            with start_probabilities(confidence):
                return draw()

        return run

    if peers.fairseq_root() is not None:
        module = peers.fairseq("data/data_utils.py", "compute_mask_indices")
        runs["fairseq"] = lambda: torch.from_numpy(
            module.compute_mask_indices(shape, padding, START_PROB, SPAN, min_masks=2)
        )
        runs["fairseq, p = confidence"] = guided(runs["fairseq"])
    if peers.has_transformers():
        draw = peers.transformers_wav2vec2()._compute_mask_indices
        attention_mask = (~padding).long()
        runs["transformers"] = lambda: torch.from_numpy(
            draw(shape, START_PROB, SPAN, attention_mask, min_masks=2)
        )
        runs["transformers, p = confidence"] = guided(runs["transformers"])
    return runs


def measure(sizes: Sequence[tuple[int, int]] = SIZES, rounds: int = 15) -> list[Row]:
    """The rows of this group; ``sizes`` are (utterances, frames) of batches."""
    rows = []
    for batch, frames in sizes:
        runs = candidates(batch, frames)
        samples = interleave(runs, rounds)
        ours = samples.pop("ours")
        for name, theirs in samples.items():
            least, target = TARGETS.get(name, (0, None))
            rows.append(
                Row.compare(
                    "guided mask, exact coverage",
                    f"{batch}x{frames}",
                    name,
                    ours,
                    theirs,
                    target if batch * frames >= least else None,
                )
            )
    return rows
