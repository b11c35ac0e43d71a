"""What the masks of a pre-training run hold, and whether they are guided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from espnet_a2m.confidence.energy import frame_level
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.evaluation.run_masking import ANNEALED, RunMasking
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.masking.guidance_lift import masked_by_confidence

DRAWS = 100  # masks of an utterance
#: Guidances that are to mask the confident frames; those whose lift is to be about 1
SEEKS_CONFIDENCE, UNGUIDED = ("high", "top_k"), ("uniform", "shuffled", "mixed")
#: A lift between these is practically that of uniform masks
UNIFORM_LIFT = 0.95, 1.05
#: Guided masks hold clearly less speech than uniform ones: by this share of the frames
LESS_SPEECH = 0.005


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: P(positive > negative) + P(equal) / 2; NaN if empty."""
    from sklearn.metrics import roc_auc_score

    n, m = len(positive), len(negative)
    if not n or not m:
        return float("nan")
    return float(roc_auc_score(np.arange(n + m) < n, [*positive, *negative]))


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


def mean_of_equal(values: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(T,) values; those of frames of the same confidence replaced by their mean."""
    _, group = np.unique(confidence, return_inverse=True)
    return (np.bincount(group, values) / np.bincount(group))[group]


def held_by(
    probability: np.ndarray, is_speech: np.ndarray, confidence: np.ndarray
) -> np.ndarray:
    """What the masks of an utterance hold: (7,) terms of the sums of `shares`.

    All are (T,), of the frames; ``probability`` is the share of draws that mask one.
    """
    least, most = masked_by_confidence(
        torch.from_numpy(mean_of_equal(probability, confidence))[None],
        torch.from_numpy(confidence)[None],
        torch.tensor([len(confidence)]),
    )
    masked = probability.sum(), probability @ is_speech, probability @ confidence
    starved = (probability == 0).sum()
    return np.array([len(probability), *masked, float(least), float(most), starved])


def shares(held: np.ndarray) -> dict[str, float]:
    """See `mask_report`; of the sums of `held_by` over utterances."""
    frames, masked, speech, confidence, least, most, starved = held.tolist()
    frames, masked = max(frames, 1), max(masked, 1e-9)
    return {
        "masked_fraction": masked / frames,
        "speech_share": speech / masked,
        "confidence": confidence / masked,
        "lift": most / max(least, 1e-9),
        "starved": starved / frames,
    }


def mask_report(
    scored: ScoredDataset,
    utts: Sequence[str],
    run: RunMasking,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """What guided masks of the run, uniform masks and all frames hold.

    Frames are the encoder's, pooled over the utterances.

    Args:
        scored: The set; audio of ``utts`` is read.
        utts: Utterances to draw masks for.
        run: How the run masks.
        draws: Masks of each utterance.
        seed: Of the draws.

    Returns:
        Of ``all``, ``uniform`` and ``guided`` masks: ``masked_fraction``; the
        ``speech_share`` (by energy, see `speech_frames`) and mean ``confidence`` of
        masked frames; ``lift`` (see :mod:`espnet_a2m.masking.guidance_lift`); and
        ``starved``, the share of frames that no draw has masked (of 100 draws: with
        95 % confidence their P(mask) is below 3 %). ``auc_speech``: how well confidence
        tells speech, None without silence. ``start_divergence_nats``: the mean over
        utterances, None where the guidance draws starts by no known distribution.
    """
    held = {kind: np.zeros(7) for kind in ("all", "uniform", "guided")}
    divergences, speech_confidence, other_confidence = [], [], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for utt in utts:
            speech, frames = run.read(scored, utt)
            if not len(frames):  # too short for the encoder
                continue
            confidence = frames.numpy()
            is_speech = speech_frames(speech, run.encoder_grid, len(frames))
            speech_confidence += confidence[is_speech].tolist()
            other_confidence += confidence[~is_speech].tolist()
            held["all"] += held_by(np.ones(len(frames)), is_speech, confidence)
            for kind, masking in (("uniform", run.uniform), ("guided", run.guided)):
                masked = run.draw(masking, frames, draws).double().mean(0).numpy()
                held[kind] += held_by(masked, is_speech, confidence)
            if (starts := run.start_distribution(frames)) is not None:
                divergences.append(start_divergence(starts))
    area = auc(speech_confidence, other_confidence)
    return {
        "utterances": len(utts),
        "draws": draws,
        "guidance": run.guided.guidance,
        "mask_prob": float(run.guided.options.at("mask_prob", ANNEALED)),
        "mask_length": run.guided.mask_length,
        **{kind: shares(sums) for kind, sums in held.items()},
        "auc_speech": None if math.isnan(area) else area,
        "start_divergence_nats": float(np.mean(divergences)) if divergences else None,
    }


def format_masks(masks: Mapping[str, Any]) -> list[str]:
    """The answer of `mask_report` as lines to read."""
    row = "  {:<12} {:>7} {:>7} {:>10} {:>5} {:>12}".format
    lines = [
        "Masks at {mask_prob:.0%}, {utterances} utterances: guidance {guidance}, spans "
        "of {mask_length} frames, {draws} draws of each".format(**masks),
        row("", "masked", "speech", "confidence", "lift", "never masked"),
    ]
    names = {"all": "all frames", "uniform": "uniform mask", "guided": "guided mask"}
    for kind, name in names.items():
        masked, speech, confidence, lift, starved = masks[kind].values()
        shares = f"{masked:.1%}", f"{speech:.1%}", f"{confidence:.3f}", f"{lift:.2f}"
        lines.append(row(name, *shares, f"{starved:.1%}"))
    area, nats = masks["auc_speech"], masks["start_divergence_nats"]
    silent = "no frame is silent" if area is None else f"{area:.3f}"
    kl = f"not known of {masks['guidance']}" if nats is None else f"{nats:.4f} nats"
    return [
        *lines,
        "  lift: P(mask) of the most confident quarter of an utterance's frames over "
        "the least confident quarter's",
        f"AUC of frame confidence for speech (by energy): {silent}",
        f"KL divergence of the start distribution from uniform: {kl}",
    ]


def mask_warnings(masks: Mapping[str, Any]) -> list[str]:
    """What is wrong with the answer of `mask_report`, and how to correct it."""
    name, lift, (less, more) = masks["guidance"], masks["guided"]["lift"], UNIFORM_LIFT
    found = []
    strength = "rank_confidence=true, span_confidence=mean, span_edges=overhang"
    if less <= lift <= more and name not in UNGUIDED:
        found.append(
            f"guidance {name} is practically uniform (lift {lift:.2f}): set "
            f"masking_conf {strength}, or a larger power"
        )
    elif lift < less and name in SEEKS_CONFIDENCE:
        found.append(
            f"guidance {name} masks what the scorer is unsure of (lift {lift:.2f}): "
            f"score with --blank exclude, and set masking_conf {strength}"
        )
    share, uniform = (masks[kind]["speech_share"] for kind in ("guided", "uniform"))
    if share < uniform - LESS_SPEECH and name in SEEKS_CONFIDENCE:
        found.append(
            f"guided masks hold less speech than uniform ones ({share:.1%}, "
            f"{uniform:.1%}): the scorer is surest of silence or of noise: score with "
            "--blank exclude, or take a scorer of such audio, or --scorer energy"
        )
    return found
