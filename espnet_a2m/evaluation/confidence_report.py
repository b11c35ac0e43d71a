"""Summary statistics of a data set's confidences, and what is selected by them."""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.evaluation.confounds import (
    confound_warnings,
    confounds,
    format_confounds,
)
from espnet_a2m.evaluation.group_report import (
    format_groups,
    group_report,
    utterance_weights,
)
from espnet_a2m.evaluation.groups import read_groupings
from espnet_a2m.evaluation.guidance_report import (
    format_masks,
    mask_report,
    mask_warnings,
)
from espnet_a2m.evaluation.label_report import format_labels, label_report
from espnet_a2m.evaluation.mask_sample import sample_masks
from espnet_a2m.evaluation.run_masking import RunMasking
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.evaluation.scorer_cer import cer_warnings, format_cer, scorer_cer
from espnet_a2m.evaluation.statistics import auc
from espnet_a2m.losses.utterance_weight import UtteranceWeight

PERCENTILES = (5, 25, 50, 75, 95)
ALL = "all"  # stands for all languages together
MIN_SECONDS = 1.0  # AUC is of longer utterances: a mean over few frames says little


def _summary(values: np.ndarray, counts: np.ndarray | None = None) -> dict[str, float]:
    """Mean and percentiles; with ``counts``, of so many of each value."""
    method: Any = "linear" if counts is None else "inverted_cdf"
    percentiles = np.percentile(values, PERCENTILES, method=method, weights=counts)
    result = {"mean": float(np.average(values, weights=counts))}
    return result | {f"p{q}": float(x) for q, x in zip(PERCENTILES, percentiles)}


def language_auc(
    utts: Mapping[str, tuple[float, float]], language: Mapping[str, str], target: str
) -> dict[str, dict[str, float]]:
    """How well utterance confidence tells ``target`` from each other language.

    ``utts`` is utterance -> (confidence, seconds), ``language`` utterance -> language.
    The result is other language, or ``all`` -> auc, and the numbers of utterances.
    """
    by_language: dict[str, list[float]] = {}
    for utt, (s_u, seconds) in utts.items():
        if seconds > MIN_SECONDS:
            by_language.setdefault(language[utt], []).append(s_u)
    ours = by_language.pop(target, [])
    by_language = dict(sorted(by_language.items()))
    if len(by_language) > 1:
        by_language[ALL] = [s for scores in by_language.values() for s in scores]
    return {
        other: {"auc": auc(ours, scores), "target": len(ours), "other": len(scores)}
        for other, scores in by_language.items()
        if ours
    }


def make_report(
    scored: ScoredDataset,
    target_lang: str | None = None,
    exclude: Collection[str] = (),
    heldout: ScoredDataset | None = None,
    run: RunMasking | None = None,
    mask_utts: int = 200,
    cer_utts: int = 100,
    group_by: Sequence[str] = (),
    ctm: str | Path | None = None,
) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """All statistics of a set.

    Args:
        scored: The set.
        target_lang: Value of ``utt2lang`` to tell from the others; None: no AUC.
        exclude: Utterances the scorer was trained on; AUC is also given without.
        heldout: A set of the target language that the scorer was not trained on; AUC
            is also given with it, and the scorer's error rate is measured on it.
        run: How pre-training masks; None: by default, at the scorer's frames.
        mask_utts: Utterances, drawn at random, whose masks are compared.
        cer_utts: Utterances of ``heldout``, drawn at random, to recognise; 0: none.
        group_by: Further tables to group by, ``accent`` for ``utt2accent``.
        ctm: Alignment of phones or words, by whose labels masks are reported.

    Returns:
        The report for JSON, and utterance -> (confidence, seconds).

    Raises:
        DataError: Bad confidences, ``target_lang`` does not occur, or a table or an
            alignment is missing or bad.
    """
    if target_lang and target_lang not in scored.language.values():
        raise DataError(
            f"{scored.data}/utt2lang: no utterance of --target_lang {target_lang}; "
            f"it has {', '.join(sorted(set(scored.language.values()))) or 'none'}"
        )
    utts: dict[str, tuple[float, float]] = {}
    counts: dict[str, Any] = collections.defaultdict(int)
    for utt in scored.audio:
        s_t = scored.confidence(utt)
        utts[utt] = scored.score(utt, s_t)
        # one byte per frame: the histogram is exact
        seen = np.bincount(np.rint(s_t * 255).astype(int), minlength=256)
        for language in {ALL, scored.language.get(utt, ALL)}:
            counts[language] += seen

    report: dict[str, Any] = {"data": str(scored.data), "sets": {}}
    report["utterances"] = {"read": len(scored.audio), "of": scored.total}
    for language in sorted(counts, key=lambda name: (name != ALL, name)):
        own = (u for u in utts if language in (ALL, scored.language.get(u)))
        s_u, seconds = np.array([utts[utt] for utt in own]).T
        report["sets"][language] = {
            "utterances": len(s_u),
            "hours": float(seconds.sum() / 3600),
            "utterance": _summary(s_u),
            "frame": _summary(np.arange(256) / 255, counts[language]),
        }
    if target_lang:
        report["target_lang"], report["min_seconds"] = target_lang, MIN_SECONDS
        spoken = scored.language
        report["auc"] = language_auc(utts, spoken, target_lang)
        if exclude:
            kept = {u: score for u, score in utts.items() if u not in exclude}
            report["excluded"] = len(utts) - len(kept)
            report["auc_without_excluded"] = language_auc(kept, spoken, target_lang)
        if heldout:
            ours = {u: heldout.score(u, heldout.confidence(u)) for u in heldout.audio}
            both = {u: v for u, v in utts.items() if spoken[u] != target_lang} | ours
            spoken = {**spoken, **dict.fromkeys(ours, target_lang)}
            report["heldout"] = str(heldout.data)
            report["auc_heldout"] = language_auc(both, spoken, target_lang)
    some = np.random.default_rng(0).permutation(list(utts))[:mask_utts].tolist()
    run = run or RunMasking({}, scored.grid, scored.grid)
    sample = sample_masks(scored, some, run)
    report["masks"] = mask_report(sample)
    # without weights in the run, what eq. 9 would do
    kind = run.weight.kind
    weight = UtteranceWeight("confidence") if kind == "none" else run.weight
    report["utterance_weight"] = {"run": kind, "reported": weight.kind}
    weights = utterance_weights(weight, utts, sample)
    groupings = read_groupings(scored, utts, group_by)
    report["groups"] = group_report(groupings, utts, weights, sample)
    report["confounds"] = confounds(utts, sample)
    if ctm:
        report["labels"] = label_report(sample, ctm)
    report["warnings"] = mask_warnings(report["masks"])
    report["warnings"] += confound_warnings(report["confounds"], report["groups"], kind)
    if heldout and cer_utts:
        report["scorer"] = scorer_cer(heldout, cer_utts)
        report["warnings"] += cer_warnings(report["scorer"])
    return report, utts


def _table_row(name: str, of: Mapping[str, Any]) -> str:
    utterances, frames = (
        " ".join(f"{value:5.3f}" for value in of[kind].values())
        for kind in ("utterance", "frame")
    )
    head = f"{name:<10} {of['utterances']:>8} {of['hours']:>7.2f}"
    return f"{head} | {utterances} | {frames}"


def format_report(report: Mapping[str, Any]) -> str:
    """The report as lines to read."""
    head = " ".join(f"{key:>5}" for key in ("mean", *(f"{q}%" for q in PERCENTILES)))
    read, total = report["utterances"].values()
    sample = f", a random {read} of its {total} utterances" if read < total else ""
    lines = [
        f"Confidences of {report['data']}{sample}",
        f"{'':<27} | {'of utterances':<35} | of frames",
        f"{'set':<10} {'utts':>8} {'hours':>7} | {head} | {head}",
        *(_table_row(name, of) for name, of in report["sets"].items()),
    ]
    for key, note in (
        ("auc", ""),
        ("auc_without_excluded", f", without {report.get('excluded', 0)} seen"),
        ("auc_heldout", f", those of {report.get('heldout')}"),
    ):
        if key in report:
            pairs = ", ".join(f"{k} {v['auc']:.3f}" for k, v in report[key].items())
            lines.append(
                f"AUC of {report['target_lang']} (above {report['min_seconds']:g} s"
                f"{note}) against: {pairs or '(no utterances left)'}"
            )
    lines += format_masks(report["masks"])
    if "labels" in report:
        lines += format_labels(report["labels"])
    weight = report["utterance_weight"]
    lines.append(
        f"Groups, with weights of utterance_weight={weight['reported']} (the run's is "
        f"{weight['run']})"
    )
    lines += format_groups(report["groups"])
    lines += format_confounds(report["confounds"])
    if "scorer" in report:
        lines += format_cer(report["scorer"])
    lines += (f"WARNING: {warning}" for warning in report["warnings"])
    return "\n".join(lines) + "\n"


def write_report(report: Mapping[str, Any], outdir: Path) -> str:
    """Write ``report.json`` and ``report.txt``; returns the text."""
    text = format_report(report)
    write_atomic(outdir / "report.json", json.dumps(report, indent=2) + "\n")
    write_atomic(outdir / "report.txt", text)
    return text
