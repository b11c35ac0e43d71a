"""What each group of utterances gets: confidence, weight (eq. 9) and masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from espnet_a2m.evaluation.groups import Groupings
from espnet_a2m.evaluation.mask_sample import KINDS, MaskedUtterance, MaskSample
from espnet_a2m.evaluation.statistics import (
    ENOUGH,
    Estimate,
    bootstrap_mean,
    effect_size,
    explained_variance,
)
from espnet_a2m.losses.utterance_weight import UtteranceWeight

#: Groups that are all listed; of more, the extremes on either side
LISTED, EXTREMES = 10, 3


def utterance_weights(
    weight: UtteranceWeight,
    utts: Mapping[str, tuple[float, float]],
    sample: MaskSample,
) -> dict[str, float]:
    """Utterance -> its mean weight in the loss.

    ``relative`` divides by the mean of them all, where training takes the batch's. With
    ``frames=masked``, only utterances of the sample have one.

    Args:
        weight: How utterances are weighted.
        utts: Utterance -> confidence s_u and seconds.
        sample: Its guided masks are those of ``frames=masked``.
    """
    if weight.frames == "masked":
        if not sample.utterances:
            return {}
        names, rows = list(sample.utterances), list(sample.utterances.values())
        confidence, mask = (
            torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(array) for array in arrays], batch_first=True
            )
            for arrays in zip(*((row.confidence, row.masked["guided"]) for row in rows))
        )
        s_u = None
    else:
        names = list(utts)
        s_u = torch.tensor([confidence for confidence, _ in utts.values()])
        confidence = mask = s_u[:, None]
    lengths = torch.ones(len(names))
    of_all = UtteranceWeight(weight.kind, frames=weight.frames)
    values = of_all(confidence, lengths, mask, s_u)
    if values is None:
        values = lengths
    # a random fraction of each batch is weighted, the rest keeps 1
    mean = weight.fraction * values.double() + 1 - weight.fraction
    return dict(zip(names, mean.tolist()))


def masks_of(utterances: Sequence[MaskedUtterance]) -> dict[str, Any]:
    """Share of speech in a group's masks, and the share of its frames in them."""
    frames = np.array([len(utt.confidence) for utt in utterances])
    found: dict[str, Any] = {"utterances": len(utterances)}
    for kind in KINDS:
        masked = np.array([utt.masked[kind].sum() for utt in utterances])
        speech = np.array([utt.masked[kind] @ utt.is_speech for utt in utterances])
        found[kind] = {
            "masked_fraction": bootstrap_mean(masked / frames, frames),
            "speech_share": bootstrap_mean(speech / np.maximum(masked, 1e-9), masked),
        }
    return found


def extremes(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Groups to list: all, or those of enough utterances at both ends by confidence."""
    if len(groups) <= LISTED:
        return list(groups)
    known = [name for name, of in groups.items() if of["utterances"] >= ENOUGH]
    ranked = sorted(known, key=lambda name: groups[name]["confidence"]["mean"])
    return ranked[:EXTREMES] + ranked[EXTREMES:][-EXTREMES:]


def group_report(
    groupings: Groupings,
    utts: Mapping[str, tuple[float, float]],
    weights: Mapping[str, float],
    sample: MaskSample,
) -> dict[str, Any]:
    """Figures of each group of each grouping.

    Args:
        groupings: Of ``utts``.
        utts: Utterance -> confidence and seconds.
        weights: Of `utterance_weights`.
        sample: Masks of some of them.

    Returns:
        Grouping -> ``groups`` and ``explained_variance``, the share of the variance of
        utterance confidence between groups. Of a group: ``utterances``, ``hours``;
        ``confidence`` and ``weight``, means over utterances with their intervals;
        ``share`` of the hours and ``weighted_share``, that of the hours times weights,
        in which its frames count in the loss; ``masks``, see `masks_of`, None where
        the sample has none of its utterances; and, of the groups that are listed, the
        ``effect``: how far its confidence is from that of the others.
    """
    total = sum(utts[utt][1] for utt in weights) or 1.0
    weighted_total = sum(w * utts[utt][1] for utt, w in weights.items()) or 1.0
    report: dict[str, Any] = {}
    for grouping, members in groupings.items():
        values = {n: np.array([utts[u][0] for u in own]) for n, own in members.items()}
        groups: dict[str, Any] = {}
        for name, own in members.items():
            weighted = [utt for utt in own if utt in weights]
            drawn = [sample.utterances[u] for u in own if u in sample.utterances]
            weight = np.array([weights[utt] for utt in weighted])
            seconds = np.array([utts[utt][1] for utt in weighted])
            groups[name] = {
                "utterances": len(own),
                "hours": sum(utts[utt][1] for utt in own) / 3600,
                "confidence": bootstrap_mean(values[name]),
                "weight": bootstrap_mean(weight) if weighted else None,
                "share": float(seconds.sum()) / total,
                "weighted_share": float(weight @ seconds) / weighted_total,
                "masks": masks_of(drawn) if drawn else None,
            }
        for name in extremes(groups):
            others = np.concatenate([v for n, v in values.items() if n != name])
            groups[name]["effect"] = effect_size(values[name], others)
        explained = explained_variance(list(values.values()))
        report[grouping] = {"explained_variance": explained, "groups": groups}
    return report


def _estimate(estimate: Estimate, digits: str = ".3f") -> str:
    mean, low, high = estimate.values()
    if mean is None:
        return "-"
    interval = "" if low is None else f" ({low:{digits}} to {high:{digits}})"
    return f"{mean:{digits}}{interval}"


def _row(name: str, of: Mapping[str, Any]) -> str:
    confidence, effect = _estimate(of["confidence"]), _estimate(of["effect"], "+.2f")
    weight = "-" if of["weight"] is None else f"{of['weight']['mean']:.3f}"
    shares = f"{of['share']:>6.1%} {of['weighted_share']:>8.1%}"
    masks = []
    for figure in ("speech_share", "masked_fraction"):
        found = [
            of["masks"][kind][figure]["mean"] if of["masks"] else None for kind in KINDS
        ]
        masks.append(" ".join(f"{'-' if x is None else f'{x:.1%}':>7}" for x in found))
    return (
        f"  {name:<16} {of['utterances']:>7} {of['hours']:>7.2f} | {confidence:<22} "
        f"{effect:<22} | {weight:>6} {shares} | {' | '.join(masks)}"
    )


def format_groups(report: Mapping[str, Any]) -> list[str]:
    """The answer of `group_report` as lines to read."""
    lines = [
        f"  {'':<32} | {'utterance confidence':<45} | {'':>6} {'of the hours':>15} | "
        f"{'speech in masks':<15} | masked",
        f"  {'':<16} {'utts':>7} {'hours':>7} | {'mean (95 %)':<22} "
        f"{'from the others, in SD':<22} | weight  share weighted | "
        "uniform  guided | uniform  guided",
    ]
    for grouping, of in report.items():
        groups, explained = of["groups"], of["explained_variance"]
        listed = extremes(groups)
        spread = ""
        if len(listed) < len(groups):
            means = [group["confidence"]["mean"] for group in groups.values()]
            low, middle, high = np.percentile(means, (5, 50, 95))
            spread = (
                f"; 5, 50 and 95 % of their means: {low:.3f}, {middle:.3f}, {high:.3f}"
            )
        lines.append(
            f"  by {grouping}: {len(groups)} groups, which explain {explained:.1%} of "
            f"the variance of utterance confidence{spread}"
        )
        lines += (_row(name, groups[name]) for name in listed)
    return lines
