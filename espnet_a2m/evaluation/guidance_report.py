"""What the masks of a pre-training run hold, and whether they are guided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from espnet_a2m.evaluation.mask_sample import KINDS, MaskSample
from espnet_a2m.evaluation.statistics import auc
from espnet_a2m.masking.guidance_lift import masked_by_confidence
from espnet_a2m.masking.schedule import ANNEALED

#: Guidances that are to mask the confident frames; those whose lift is to be about 1
SEEKS_CONFIDENCE, UNGUIDED = ("high", "top_k"), ("uniform", "shuffled", "mixed")
#: A lift between these is practically that of uniform masks
UNIFORM_LIFT = 0.95, 1.05
#: Guided masks hold clearly less speech than uniform ones: by this share of the frames
LESS_SPEECH = 0.005


def mean_of_equal(values: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """(T,) values; those of frames of the same confidence replaced by their mean."""
    _, group = np.unique(confidence, return_inverse=True)
    return (np.bincount(group, values) / np.bincount(group))[group]


def held_by(
    probability: np.ndarray, is_speech: np.ndarray, confidence: np.ndarray
) -> np.ndarray:
    """What the masks of an utterance hold: (8,) terms of the sums of `shares`.

    All are (T,), of the frames; ``probability`` is the share of draws that mask one.
    """
    least, most = masked_by_confidence(
        torch.from_numpy(mean_of_equal(probability, confidence))[None],
        torch.from_numpy(confidence)[None],
        torch.tensor([len(confidence)]),
    )
    frames = len(probability), is_speech.sum()
    masked = probability.sum(), probability @ is_speech, probability @ confidence
    starved = (probability == 0).sum()
    return np.array([*frames, *masked, float(least), float(most), starved])


def shares(held: np.ndarray) -> dict[str, float | None]:
    """See `mask_report`; of the sums of `held_by` over utterances."""
    frames, spoken, masked, speech, confidence, least, most, starved = held.tolist()
    silence = (masked - speech) / (frames - spoken) if frames > spoken else None
    frames, masked = max(frames, 1), max(masked, 1e-9)
    return {
        "masked_fraction": masked / frames,
        "masked_of_speech": speech / spoken if spoken else None,
        "masked_of_silence": silence,
        "speech_share": speech / masked,
        "confidence": confidence / masked,
        "lift": most / max(least, 1e-9),
        "starved": starved / frames,
    }


def mask_report(sample: MaskSample) -> dict[str, Any]:
    """What guided masks of the run, uniform masks and all frames hold.

    Frames are the encoder's, pooled over the utterances.

    Returns:
        Of ``all``, ``uniform`` and ``guided`` masks: ``masked_fraction``, also
        ``masked_of_speech`` and ``masked_of_silence`` (by energy, see `speech_frames`;
        None where there is none); the ``speech_share`` and mean ``confidence`` of
        masked frames; ``lift`` (see :mod:`espnet_a2m.masking.guidance_lift`); and
        ``starved``, the share of frames that no draw has masked (of 100 draws: with
        95 % confidence their P(mask) is below 3 %). ``auc_speech``: how well confidence
        tells speech, None without silence. ``start_divergence_nats``: the mean over
        utterances, None where the guidance draws starts by no known distribution.
    """
    held = {kind: np.zeros(8) for kind in ("all", *KINDS)}
    speech_confidence, other_confidence = [], []
    for utt in sample.utterances.values():
        speech_confidence += utt.confidence[utt.is_speech].tolist()
        other_confidence += utt.confidence[~utt.is_speech].tolist()
        every = np.ones(len(utt.confidence))
        for kind, masked in {"all": every, **utt.masked}.items():
            held[kind] += held_by(masked, utt.is_speech, utt.confidence)
    known = (utt.divergence for utt in sample.utterances.values())
    divergences = [nats for nats in known if nats is not None]
    guided, area = sample.run.guided, auc(speech_confidence, other_confidence)
    return {
        "utterances": len(sample.utterances),
        "draws": sample.draws,
        "guidance": guided.guidance,
        "mask_prob": float(guided.options.at("mask_prob", ANNEALED)),
        "mask_length": guided.mask_length,
        **{kind: shares(sums) for kind, sums in held.items()},
        "auc_speech": None if math.isnan(area) else area,
        "start_divergence_nats": float(np.mean(divergences)) if divergences else None,
    }


def format_masks(masks: Mapping[str, Any]) -> list[str]:
    """The answer of `mask_report` as lines to read."""
    columns = "masked", "of speech", "of silence", "speech", "confidence", "lift"
    row = "  {:<12} {:>7} {:>9} {:>10} {:>7} {:>10} {:>5} {:>12}".format
    lines = [
        "Masks at {mask_prob:.0%}, {utterances} utterances: guidance {guidance}, spans "
        "of {mask_length} frames, {draws} draws of each".format(**masks),
        row("", *columns, "never masked"),
    ]
    names = {"all": "all frames", "uniform": "uniform mask", "guided": "guided mask"}
    for kind, name in names.items():
        *percent, confidence, lift, starved = masks[kind].values()
        shares = ("-" if share is None else f"{share:.1%}" for share in percent)
        figures = f"{confidence:.3f}", f"{lift:.2f}", f"{starved:.1%}"
        lines.append(row(name, *shares, *figures))
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
