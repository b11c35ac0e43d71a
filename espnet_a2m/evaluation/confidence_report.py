"""Summary statistics and pictures of a data set's confidences."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.confidence.energy import frame_level
from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.core.frames import FrameGrid
from espnet_a2m.evaluation.scored_set import ScoredDataset
from espnet_a2m.masking.guided import GuidedMasking

PERCENTILES = (5, 25, 50, 75, 95)
ALL = "all"  # stands for all languages together
MIN_SECONDS = 1.0  # AUC is of longer utterances: a mean over few frames says little


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: P(positive > negative) + P(equal) / 2; NaN if empty."""
    from sklearn.metrics import roc_auc_score

    n, m = len(positive), len(negative)
    if not n or not m:
        return float("nan")
    return float(roc_auc_score(np.arange(n + m) < n, [*positive, *negative]))


def start_divergence(confidence: np.ndarray) -> float:
    """KL divergence, in nats, of p(i = t) = s_t / sum s from uniform over T frames."""
    from scipy.stats import entropy

    if not confidence.any():
        return 0.0  # no frame is preferred
    # the rounding error of the logarithms can make it -1e-16
    return max(0.0, float(entropy(confidence, np.ones_like(confidence))))


def speech_frames(speech: np.ndarray, grid: FrameGrid, num_frames: int) -> np.ndarray:
    """Detect speech by energy alone.

    The detector of Kinnunen and Li (Speech Communication 52(1), 2010): a frame is
    speech if its energy is at most 30 dB below the loudest frame's and above -55 dB of
    full scale. It takes babble and music for speech.

    Args:
        speech: (N,) samples in [-1, 1].
        grid: Positions of the frames; each takes one stride around its centre.
        num_frames: T.

    Returns:
        (T,) boolean.
    """
    level = frame_level(
        torch.from_numpy(speech)[None], torch.tensor([len(speech)]), grid, num_frames
    )[0][0].numpy()
    return (level >= level.max() - 30.0) & (level > -55.0)


def draw_mask(
    confidence: np.ndarray | None,
    num_frames: int,
    mask_prob: float,
    mask_length: int,
    seed: int,
) -> np.ndarray:
    """(T,) boolean mask as pre-training draws it by default; uniform without
    confidences."""
    guidance = "uniform" if confidence is None else "high"
    masking = GuidedMasking(1, mask_prob, mask_length, guidance)
    guide = None if confidence is None else torch.from_numpy(confidence)[None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mask = masking.draw(
            torch.tensor([num_frames]), num_frames, guide, torch.tensor(0)
        )
    return mask[0].numpy()


def _summary(values: np.ndarray, counts: np.ndarray | None = None) -> dict[str, float]:
    """Mean and percentiles; with ``counts``, of so many of each value."""
    method: Any = "linear" if counts is None else "inverted_cdf"
    percentiles = np.percentile(values, PERCENTILES, method=method, weights=counts)
    result = {"mean": float(np.average(values, weights=counts))}
    return result | {f"p{q}": float(x) for q, x in zip(PERCENTILES, percentiles)}


def language_auc(
    utts: Mapping[str, tuple[float, float]],
    language: Mapping[str, str],
    target: str,
    exclude: Collection[str] = (),
) -> dict[str, dict[str, float]]:
    """How well utterance confidence tells ``target`` from each other language.

    Args:
        utts: Utterance -> (confidence, seconds).
        language: Utterance -> language.
        target: The language that the scorer was trained for.
        exclude: Utterances left out, such as the scorer's training data.

    Returns:
        Other language, or ``all`` -> auc, and the numbers of utterances.
    """
    by_language: dict[str, list[float]] = {}
    for utt, (s_u, seconds) in utts.items():
        if seconds > MIN_SECONDS and utt not in exclude:
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


def utterance_scores(scored: ScoredDataset) -> dict[str, tuple[float, float]]:
    """Utterance -> (confidence, seconds); reads all confidences of a set."""
    scores = {}
    for utt in scored.audio:
        s_t = scored.confidence(utt)
        s_u = scored.utterance_confidence(utt, s_t)
        scores[utt] = (s_u, scored.seconds(utt, len(s_t)))
    return scores


def mask_report(
    scored: ScoredDataset, utts: Sequence[str], mask_prob: float, mask_length: int
) -> dict[str, Any]:
    """Speech share and mean confidence of all frames, and of guided and uniform masks.

    Args:
        scored: The set; audio of ``utts`` is read.
        utts: Utterances to draw a mask for.
        mask_prob: Share of frames to mask.
        mask_length: Frames in a span.
    """
    totals = {kind: np.zeros(3) for kind in ("all", "uniform", "guided")}
    for seed, utt in enumerate(utts):
        s_t = scored.confidence(utt)
        is_speech = speech_frames(scored.speech(utt), scored.grid, len(s_t))
        masks = {"all": np.ones(len(s_t), dtype=bool)}
        for kind, guide in (("uniform", None), ("guided", s_t)):
            masks[kind] = draw_mask(guide, len(s_t), mask_prob, mask_length, seed)
        for kind, mask in masks.items():
            totals[kind] += [mask.sum(), is_speech[mask].sum(), s_t[mask].sum()]
    report: dict[str, Any] = {"utterances": len(utts), "mask_prob": mask_prob}
    report["mask_length"] = mask_length
    for kind, (count, speech, confidence) in totals.items():
        n = max(count, 1)
        report[kind] = {"speech_share": speech / n, "confidence": confidence / n}
    return report


def make_report(
    scored: ScoredDataset,
    target_lang: str | None = None,
    exclude: Collection[str] = (),
    heldout: ScoredDataset | None = None,
    mask_prob: float = 0.4,
    mask_length: int = 10,
    mask_utts: int = 300,
) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """All statistics of a set.

    Args:
        scored: The set.
        target_lang: Value of ``utt2lang`` to tell from the others; None: no AUC.
        exclude: Utterances the scorer was trained on; AUC is also given without.
        heldout: A set of the target language that the scorer was not trained on; AUC
            is also given with its utterances for those of ``scored``.
        mask_prob: Share of frames to mask.
        mask_length: Frames in a span.
        mask_utts: Utterances, drawn at random, whose masks are compared.

    Returns:
        The report for JSON, and utterance -> (confidence, seconds).

    Raises:
        DataError: Bad confidences, or ``target_lang`` does not occur.
    """
    if target_lang and target_lang not in scored.language.values():
        raise DataError(
            f"{scored.data}/utt2lang: no utterance of --target_lang {target_lang}; "
            f"it has {', '.join(sorted(set(scored.language.values()))) or 'none'}"
        )
    utts: dict[str, tuple[float, float]] = {}
    counts: dict[str, np.ndarray] = {}
    divergences = []
    for utt in scored.audio:
        s_t = scored.confidence(utt)
        s_u = scored.utterance_confidence(utt, s_t)
        utts[utt] = (s_u, scored.seconds(utt, len(s_t)))
        divergences.append(start_divergence(s_t))
        # one byte per frame: the histogram is exact
        seen = np.bincount(np.rint(s_t * 255).astype(int), minlength=256)
        for language in {ALL, scored.language.get(utt, ALL)}:
            counts[language] = counts.get(language, 0) + seen

    report: dict[str, Any] = {"data": str(scored.data), "sets": {}}
    report["utterances"] = {"read": len(scored.audio), "of": scored.total}
    for language in sorted(counts, key=lambda name: (name != ALL, name)):
        members = np.array(
            [
                value
                for utt, value in utts.items()
                if language in (ALL, scored.language.get(utt))
            ]
        )
        report["sets"][language] = {
            "utterances": len(members),
            "hours": float(members[:, 1].sum() / 3600),
            "utterance": _summary(members[:, 0]),
            "frame": _summary(np.arange(256) / 255, counts[language]),
        }
    report["start_divergence_nats"] = float(np.mean(divergences))
    if target_lang:
        pair = (utts, scored.language, target_lang)
        report["target_lang"], report["min_seconds"] = target_lang, MIN_SECONDS
        report["auc"] = language_auc(*pair)
        if exclude:
            report["excluded"] = len(set(exclude) & set(utts))
            report["auc_without_excluded"] = language_auc(*pair, exclude)
        if heldout:
            ours = utterance_scores(heldout)
            others = {u: v for u, v in utts.items() if pair[1][u] != target_lang}
            spoken = {**scored.language, **dict.fromkeys(ours, target_lang)}
            report["heldout"] = str(heldout.data)
            report["auc_heldout"] = language_auc(
                {**others, **ours}, spoken, target_lang
            )
    rng = np.random.default_rng(0)
    some = rng.permutation(list(utts))[:mask_utts].tolist()
    report["masks"] = mask_report(scored, some, mask_prob, mask_length)
    return report, utts


def _table_row(name: str, of: Mapping[str, Any]) -> str:
    keys = ("mean", *(f"p{q}" for q in PERCENTILES))
    columns = [
        " ".join(f"{of[kind][key]:5.3f}" for key in keys)
        for kind in ("utterance", "frame")
    ]
    head = f"{name:<10} {of['utterances']:>8} {of['hours']:>7.2f}"
    return f"{head} | {columns[0]} | {columns[1]}"


def format_report(report: Mapping[str, Any]) -> str:
    """The report as lines to read."""
    head = " ".join(f"{key:>5}" for key in ("mean", *(f"{q}%" for q in PERCENTILES)))
    read, total = report["utterances"]["read"], report["utterances"]["of"]
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
    masks = report["masks"]
    lines.append(
        "KL divergence of the start distribution from uniform: "
        f"{report['start_divergence_nats']:.4f} nats"
    )
    lines.append(
        f"Masks at {masks['mask_prob']:.0%}, {masks['utterances']} utterances:"
    )
    for kind in ("all", "uniform", "guided"):
        name = "all frames" if kind == "all" else f"{kind} mask"
        lines.append(
            f"  {name:<12} speech (by energy) {masks[kind]['speech_share']:6.1%}, "
            f"mean confidence {masks[kind]['confidence']:.3f}"
        )
    return "\n".join(lines) + "\n"


def write_report(report: Mapping[str, Any], outdir: Path) -> str:
    """Write ``report.json`` and ``report.txt``; returns the text."""
    text = format_report(report)
    write_atomic(outdir / "report.json", json.dumps(report, indent=2) + "\n")
    write_atomic(outdir / "report.txt", text)
    return text


def _choose(
    scored: ScoredDataset,
    utts: Mapping[str, tuple[float, float]],
    count: int,
    first: str,
) -> list[str]:
    """Utterances of about 4 s, one language after the other, ``first`` first."""
    by_language: dict[str, list[str]] = {}
    for utt in sorted(utts, key=lambda u: (abs(utts[u][1] - 4.0), u)):
        by_language.setdefault(scored.language.get(utt, ""), []).append(utt)
    order = sorted(by_language, key=lambda name: (name != first, name))
    turns = itertools.zip_longest(*(by_language[name] for name in order))
    return [utt for turn in turns for utt in turn if utt is not None][:count]


def draw_report(
    scored: ScoredDataset,
    utts: Mapping[str, tuple[float, float]],
    outdir: Path,
    count: int = 4,
    target_lang: str | None = None,
    mask_prob: float = 0.4,
    mask_length: int = 10,
) -> Iterator[Path]:
    """Draw the histogram of confidences and ``count`` utterances; yields the files.

    ``utts`` is of :func:`make_report`.
    """
    from espnet_a2m.evaluation.plots import draw_histogram, draw_utterance

    by_language: dict[str, list[float]] = {}
    for utt, (s_u, _) in utts.items():
        by_language.setdefault(scored.language.get(utt, ALL), []).append(s_u)
    path, title = (
        outdir / "utterance_confidence.png",
        f"{scored.data}: utterance confidence",
    )
    yield draw_histogram(path, dict(sorted(by_language.items())), title)
    for seed, utt in enumerate(_choose(scored, utts, count, target_lang or "")):
        s_t, speech = scored.confidence(utt), scored.speech(utt)
        mask = draw_mask(s_t, len(s_t), mask_prob, mask_length, seed)
        title = f"{utt} {scored.language.get(utt, '')}".strip()
        path = outdir / f"{utt}.png"
        yield draw_utterance(path, title, speech, s_t, mask, scored.grid)
