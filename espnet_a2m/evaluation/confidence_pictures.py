"""Pictures of a data set's confidences, of masks over them, and of calibration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_a2m.evaluation.confidence_report import ALL
from espnet_a2m.evaluation.plots import (
    draw_histogram,
    draw_reliability,
    draw_utterance,
)
from espnet_a2m.evaluation.run_masking import RunMasking
from espnet_a2m.evaluation.scored_set import ScoredDataset


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
    report: Mapping[str, Any],
    utts: Mapping[str, tuple[float, float]],
    outdir: Path,
    count: int,
    run: RunMasking,
) -> Iterator[Path]:
    """Draw confidences, the scorer's calibration and ``count`` utterances.

    Yields the files. ``report`` and ``utts`` are of :func:`make_report`.
    """
    by_language: dict[str, list[float]] = {}
    for utt, (s_u, _) in utts.items():
        by_language.setdefault(scored.language.get(utt, ALL), []).append(s_u)
    title = f"{scored.data}: utterance confidence"
    path = outdir / "utterance_confidence.png"
    yield draw_histogram(path, dict(sorted(by_language.items())), title)
    if found := report.get("scorer", {}).get("calibration"):
        title = f"{report['scorer']['data']}: {found['tokens']} tokens of the scorer"
        yield draw_reliability(outdir / "calibration.png", found["bins"], title)
    first = report.get("target_lang", "")
    for seed, utt in enumerate(_choose(scored, utts, count, first)):
        speech, s_t = run.read(scored, utt)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            mask = run.draw(run.guided, s_t)[0]
        title = f"{utt} {scored.language.get(utt, '')}".strip()
        frames = s_t.numpy(), mask.numpy(), run.encoder_grid
        yield draw_utterance(outdir / f"{utt}.png", title, speech, *frames)
