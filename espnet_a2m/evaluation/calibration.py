"""Whether confidence says how often the scorer is right: tokens against transcripts."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from jiwer import AlignmentChunk

from espnet_a2m.evaluation.statistics import auc

#: Bins of a reliability table, each of as many tokens
BINS = 10

#: From the best label of each frame to text
ToText = Callable[[list[int]], str]


def spell(best: Sequence[int], to_text: ToText) -> tuple[str, list[slice]]:
    """What a greedy CTC decoding says, and which frames say it.

    Args:
        best: (T,) best label of each frame.
        to_text: Their text.

    Returns:
        The text in lower case, words one space apart, and for each of its characters
        the frames of the token that it is part of: a run of one label.
    """
    labels: list[int] = []
    frames: list[slice] = []
    text, end = "", 0
    for label, run in groupby(best):
        labels.append(label)
        begin, end = end, end + len(list(run))
        # a tokenizer may change what came before
        longer = re.sub(r"\s+", " ", to_text(labels).lower()).lstrip()
        same = len(os.path.commonprefix([text, longer]))
        frames[same:] = [slice(begin, end)] * (len(longer) - same)
        text = longer
    text = text.rstrip()
    return text, frames[: len(text)]


def right_tokens(
    frames: Sequence[slice], alignment: Sequence[AlignmentChunk]
) -> dict[tuple[int, int], bool]:
    """First and last frame of each token -> whether all its characters are right.

    ``frames`` are those of `spell`; ``alignment`` is of its text with the transcript.
    An inserted character is wrong.
    """
    right = np.zeros(len(frames), dtype=bool)
    for chunk in alignment:
        if chunk.type == "equal":
            right[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
    tokens: dict[tuple[int, int], bool] = {}
    for where, is_right in zip(frames, right.tolist(), strict=True):
        key = where.start, where.stop
        tokens[key] = tokens.get(key, True) and is_right
    return tokens


def calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """How far (n,) confidences of tokens are the probabilities that these are right.

    Returns:
        ``tokens``, their number; ``confidence`` and ``right``, the means;
        ``expected_calibration_error``, the mean distance of the two over ``bins`` of
        equally many tokens, in order of confidence; ``auc``, how well confidence tells
        right tokens, None where all or none is right.
    """
    order = np.argsort(confidence, kind="stable")
    bins = [
        {
            "tokens": len(part),
            "confidence": float(confidence[part].mean()),
            "right": float(right[part].mean()),
        }
        for part in np.array_split(order, BINS)
        if len(part)
    ]
    error = sum(b["tokens"] * abs(b["confidence"] - b["right"]) for b in bins)
    area = auc(confidence[right].tolist(), confidence[~right].tolist())
    return {
        "tokens": len(right),
        "confidence": float(confidence.mean()),
        "right": float(right.mean()),
        "expected_calibration_error": error / len(right),
        "auc": None if math.isnan(area) else area,
        "bins": bins,
    }


def format_calibration(found: Mapping[str, Any]) -> list[str]:
    """The answer of `calibration` as lines to read."""
    area = "-" if found["auc"] is None else f"{found['auc']:.3f}"
    return [
        f"Scorer's calibration ({found['tokens']} tokens in {len(found['bins'])} equal "
        f"bins): mean confidence {found['confidence']:.3f}, {found['right']:.3f} are "
        f"right; expected calibration error {found['expected_calibration_error']:.3f}; "
        f"AUC of confidence for a right token {area}",
        *(
            f"  {name:<12}" + "".join(f"{part[key]:>7.3f}" for part in found["bins"])
            for key, name in (("confidence", "confidence"), ("right", "share right"))
        ),
    ]
