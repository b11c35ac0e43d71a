"""A scorer's calibration, against confidences whose calibration is known."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from espnet_a2m.evaluation.calibration import (
    calibration,
    format_calibration,
    right_tokens,
    spell,
)

pytestmark = pytest.mark.unit

SPELLING = {0: "", 1: "A", 2: "b", 3: " ", 4: " thE"}  # 0: the blank


def to_text(labels: list[int]) -> str:
    merged = [n for i, n in enumerate(labels) if not i or labels[i - 1] != n]
    return "".join(SPELLING[n] for n in merged)


@pytest.mark.parametrize(
    ("power", "error", "area"),
    # E|c - c^p| over uniform c; P(right > wrong) of the densities (p+1)c^p and
    # (p+1)/p (1 - c^p): with p = 1, int 2c (2c - c^2) dc
    [(1, 0.0, 5 / 6), (2, 1 / 6, 0.875)],
)
def test_known_calibration_is_found(power, error, area):
    rng = np.random.default_rng(0)
    confidence = rng.random(200_000)
    found = calibration(confidence, rng.random(200_000) < confidence**power)
    assert found["expected_calibration_error"] == pytest.approx(error, abs=0.006)
    assert found["auc"] == pytest.approx(area, abs=0.005)
    assert found["confidence"] == pytest.approx(0.5, abs=0.005)
    assert found["right"] == pytest.approx(1 / (power + 1), abs=0.005)


def test_bins_are_scikit_learns():
    rng = np.random.default_rng(1)
    confidence = rng.beta(2, 1, 1000)
    right = rng.random(1000) < 0.7
    bins = calibration(confidence, right)["bins"]
    assert [part["tokens"] for part in bins] == [100] * 10
    share, mean = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([part["right"] for part in bins], share)
    np.testing.assert_allclose([part["confidence"] for part in bins], mean)
    few = calibration(confidence[:3], np.ones(3, dtype=bool))
    assert few["auc"] is None and len(few["bins"]) == 3
    assert "right token -" in format_calibration(few)[0]


def test_tokens_keep_their_frames():
    best = [0, 3, 1, 1, 0, 1, 2, 3, 3, 0, 4, 4, 4, 3, 0]
    text, frames = spell(best, to_text)
    assert text == " ".join(to_text(best).lower().split()) == "aab the"
    where = [(part.start, part.stop) for part in frames]
    # of two spaces the first stays; what only ends the text is no token
    assert where == [(2, 4), (5, 6), (6, 7), (7, 9), *[(10, 13)] * 3]
    assert spell([0, 0], to_text) == spell([], to_text) == ("", [])


def test_a_tokenizer_may_change_what_came_before():
    """As clean_up_tokenization_spaces does: "do n't" becomes "don't"."""

    def cleaned(labels: list[int]) -> str:
        return "".join("do n't"[i] for i in labels).replace(" n't", "n't")

    text, frames = spell(range(6), cleaned)
    assert text == "don't"
    assert [part.start for part in frames] == [0, 1, 5, 5, 5]


def test_a_token_is_right_where_all_its_characters_are():
    def right(heard: list[int], reference: str) -> list[bool]:
        text, frames = spell(heard, to_text)
        alignment = jiwer.process_characters(reference, text).alignments[0]
        return list(right_tokens(frames, alignment).values())

    assert right([1, 2, 4], "ab the") == [True] * 3
    assert right([1, 2, 4], "ab tha") == [True, True, False]
    assert right([1, 2, 4], "b the") == [False, True, True]  # an insertion
    assert right([2, 4], "ab the") == [True, True]  # a deletion concerns no token
    assert right([1, 2], "cd") == [False, False]
