"""Masks that a run would draw for some utterances: what the reports sum up."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch

from espnet_a2m.confidence.energy import frame_level
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.evaluation.run_masking import RunMasking
from espnet_a2m.evaluation.scored_set import ScoredDataset

DRAWS = 100  # masks of an utterance
#: The kinds of masks that are compared, and the order in which they are drawn
KINDS = ("uniform", "guided")


@dataclasses.dataclass
class MaskedUtterance:
    """Encoder frames of an utterance, from its beginning where training crops it."""

    confidence: np.ndarray  # (T,)
    is_speech: np.ndarray  # (T,) see `speech_frames`
    masked: dict[str, np.ndarray]  # kind -> (T,) share of the draws that mask a frame
    divergence: float | None  # see `start_divergence`; None: starts are not known


@dataclasses.dataclass
class MaskSample:
    """What `sample_masks` has drawn."""

    run: RunMasking
    draws: int
    utterances: dict[str, MaskedUtterance]


def speech_frames(speech: np.ndarray, grid: FrameGrid, num_frames: int) -> np.ndarray:
    """Detect speech by energy alone.

    The detector of Kinnunen and Li (Speech Communication 52(1), 2010): a frame is
    speech if its energy is at most 30 dB below the loudest frame's and above -55 dB of
    full scale. It takes babble and music for speech.

    Args:
        speech: (N,) samples in [-1, 1].
        grid: Positions of the frames; each takes one stride around its centre.
        num_frames: T; the result is (T,) boolean.
    """
    batch = torch.from_numpy(speech)[None], torch.tensor([len(speech)])
    level = frame_level(*batch, grid, num_frames)[0][0].numpy()
    return (level >= level.max() - 30.0) & (level > -55.0)


def start_divergence(probabilities: torch.Tensor) -> float:
    """KL divergence, in nats, of (S,) probabilities of starts from uniform ones."""
    entropy = torch.special.entr(probabilities.double()).sum()
    return max(0.0, math.log(len(probabilities)) - float(entropy))


def sample_masks(
    scored: ScoredDataset,
    utts: Sequence[str],
    run: RunMasking,
    draws: int = DRAWS,
    seed: int = 0,
) -> MaskSample:
    """Read the audio of ``utts``; draw uniform masks and guided masks of the run.

    Utterances too short for a frame of the encoder are left out.
    """
    utterances = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for utt in utts:
            speech, frames = run.read(scored, utt)
            if not len(frames):
                continue
            masked = {
                kind: run.draw(masking, frames, draws).double().mean(0).numpy()
                for kind, masking in zip(KINDS, (run.uniform, run.guided))
            }
            is_speech = speech_frames(speech, run.encoder_grid, len(frames))
            starts = run.start_distribution(frames)
            nats = None if starts is None else start_divergence(starts)
            utterances[utt] = MaskedUtterance(frames.numpy(), is_speech, masked, nats)
    return MaskSample(run, draws, utterances)
