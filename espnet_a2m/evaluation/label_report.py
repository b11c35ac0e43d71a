"""What masks hold by phone or word: P(mask | label) of an alignment's labels."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from espnet_a2m.confidence.ctm import read_ctm, word_frames
from espnet_a2m.core.errors import DataError, preview
from espnet_a2m.evaluation.mask_sample import KINDS, MaskSample

#: The label of frames outside of all segments
SILENCE = "(silence)"
#: Frames from which on a label is listed, and how many labels at either end
MIN_FRAMES, LISTED = 50, 10


def label_report(sample: MaskSample, ctm: str | Path) -> dict[str, Any]:
    """How often masks hold the frames of each label.

    A frame has the label of the segment over its centre that starts last. Utterances
    that the alignment does not have are left out.

    Args:
        sample: The masks.
        ctm: CTM of phones or words, which need no confidence.

    Returns:
        ``utterances``, the number of those aligned, and ``labels``: label ->
        ``frames`` and the share of them in ``uniform`` and ``guided`` masks.

    Raises:
        DataError: The alignment cannot be read, or has none of the utterances.
    """
    words = read_ctm(ctm, is_alignment=True)
    aligned = {u: of for u, of in sample.utterances.items() if u in words}
    if not aligned:
        raise DataError(
            f"{ctm}: none of the {len(sample.utterances)} utterances whose masks are "
            f"drawn is in it, such as {preview(sample.utterances, 1)}: its first "
            "column must be the utterance of wav.scp"
        )
    sums: dict[str, Any] = collections.defaultdict(lambda: np.zeros(1 + len(KINDS)))
    for name, utt in aligned.items():
        size = len(utt.confidence)
        labels = np.full(size, SILENCE, dtype=object)
        for word, frames in word_frames(words[name], sample.run.encoder_grid, size):
            labels[frames] = word.word
        values = np.stack([np.ones(size), *(utt.masked[kind] for kind in KINDS)])
        for label in set(labels.tolist()):
            sums[label] += values[:, labels == label].sum(1)
    return {
        "utterances": len(aligned),
        "labels": {
            label: {
                "frames": int(frames),
                **{kind: float(m / frames) for kind, m in zip(KINDS, masked)},
            }
            for label, (frames, *masked) in sorted(sums.items())
        },
    }


def format_labels(report: Mapping[str, Any]) -> list[str]:
    """The answer of `label_report` as lines to read."""
    labels = report["labels"]
    known = {
        label: of
        for label, of in labels.items()
        if of["frames"] >= MIN_FRAMES and label != SILENCE
    }
    ranked = sorted(known, key=lambda label: known[label]["guided"], reverse=True)
    lines = [
        f"P(mask) by label, guided (uniform): {report['utterances']} utterances "
        f"aligned, {len(known)} labels of {MIN_FRAMES} frames or more"
    ]
    parts = {"most": ranked[:LISTED], "least": ranked[LISTED:][-LISTED:][::-1]}
    if SILENCE in labels:
        parts["outside"] = [SILENCE]
    for name, some in parts.items():
        pairs = ((x, labels[x]["guided"], labels[x]["uniform"]) for x in some)
        found = (f"{x} {guided:.3f} ({uniform:.3f})" for x, guided, uniform in pairs)
        lines.append(f"  {name:<7} {', '.join(found)}")
    return lines
