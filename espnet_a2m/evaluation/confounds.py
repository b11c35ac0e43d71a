"""What else utterance confidence follows: length, the share of speech, groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from espnet_a2m.evaluation.mask_sample import MaskSample
from espnet_a2m.evaluation.statistics import ENOUGH, rank_correlation

#: A correlation with length beyond which weights are weights of length, too
MAX_LENGTH_RHO = 0.5
#: A group's mean weight over another's below which one is warned of
MIN_WEIGHT_RATIO = 0.5


def confounds(
    utts: Mapping[str, tuple[float, float]], sample: MaskSample
) -> dict[str, Any]:
    """Spearman correlations of utterance confidence with their intervals.

    With ``seconds``, of all ``utts`` (utterance -> confidence, seconds), and with
    ``speech_share``, the share of speech by energy, of the ``sample`` of masks.
    """
    s_u, seconds = np.array(list(utts.values())).T
    of_sample = np.array([utts[utt][0] for utt in sample.utterances])
    speech = np.array([utt.is_speech.mean() for utt in sample.utterances.values()])
    return {
        "seconds": {"utterances": len(utts), **rank_correlation(s_u, seconds)},
        "speech_share": {
            "utterances": len(speech),
            **rank_correlation(of_sample, speech),
        },
    }


def format_confounds(found: Mapping[str, Any]) -> list[str]:
    """The answer of `confounds` as lines to read."""
    lines = []
    for key, name in (("seconds", "seconds"), ("speech_share", "share of speech")):
        utterances, rho, low, high = found[key].values()
        value = "too few utterances, or all alike"
        if rho is not None:
            value = f"{rho:+.2f} ({low:+.2f} to {high:+.2f}, {utterances} utterances)"
        lines.append(f"Spearman correlation of utterance confidence, {name}: {value}")
    return lines


def confound_warnings(
    found: Mapping[str, Any], groups: Mapping[str, Any], weight_of_run: str
) -> list[str]:
    """What weighting by confidence also weights by, and what to do about it.

    Args:
        found: The answer of `confounds`.
        groups: That of `group_report`.
        weight_of_run: ``utterance_weight`` of the run.
    """
    unused = ""
    if weight_of_run == "none":
        unused = "; this run does not weight utterances (utterance_weight: none)"
    warnings = []
    rho = found["seconds"]["rho"]
    # each batch holds utterances of like length, whose mean `relative` divides by
    if abs(rho or 0.0) > MAX_LENGTH_RHO and weight_of_run != "relative":
        warnings.append(
            "weighting by confidence also weights by length (Spearman "
            f"{rho:+.2f}): set model_conf utterance_weight=relative, which divides by "
            f"the mean of a batch, whose utterances are of like length{unused}"
        )
    for grouping, of in groups.items():
        means = {
            name: group["weight"]["mean"]
            for name, group in of["groups"].items()
            if group["weight"] and group["utterances"] >= ENOUGH
        }
        if not means:
            continue
        low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        if means[low] < MIN_WEIGHT_RATIO * means[high]:
            warnings.append(
                f"utterances of {grouping} {low} have less than half the weight of "
                f"those of {high} ({means[low]:.3f}, {means[high]:.3f}): listen to "
                "some; if they are wanted, set model_conf utterance_weight_fraction="
                f"0.1, the paper's, or take a scorer that knows them{unused}"
            )
    return warnings
