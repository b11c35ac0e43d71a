"""Groups of real speech: their sums, their intervals, and what is warned of."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from helpers.scored_speech import GRID, scored_speech
from scipy import stats

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.tables import write_table
from espnet_a2m.evaluation.confidence_report import format_report, make_report
from espnet_a2m.evaluation.confounds import confound_warnings
from espnet_a2m.evaluation.group_report import format_groups, utterance_weights
from espnet_a2m.evaluation.groups import read_groupings
from espnet_a2m.evaluation.mask_sample import sample_masks
from espnet_a2m.evaluation.run_masking import RunMasking
from espnet_a2m.evaluation.statistics import (
    bootstrap_mean,
    effect_size,
    explained_variance,
    rank_correlation,
)
from espnet_a2m.losses.utterance_weight import UtteranceWeight

pytestmark = pytest.mark.espnet


@pytest.fixture(scope="module")
def scored(short_utterances, tmp_path_factory):
    """50 utterances of 22 readers, two accents and, for most readers, a sex."""
    root = tmp_path_factory.mktemp("scored")
    scored = scored_speech(root, short_utterances)
    readers = {utt: utt.partition("-")[0] for utt in scored.audio}
    write_table(root / "data/utt2spk", readers)
    sexes = {spk: "fm"[i % 2] for i, spk in enumerate(sorted(set(readers.values())))}
    del sexes[min(sexes)]
    write_table(root / "data/spk2gender", sexes)
    accents = {utt: f"accent{i % 2}" for i, utt in enumerate(scored.audio)}
    write_table(root / "data/utt2accent", accents)
    return scored


def pooled(groups, figure, *path):
    """The sum of a figure over groups."""
    values = []
    for of in groups.values():
        for key in path:
            of = of[key]
        values.append(of[figure])
    return sum(values)


# --- Sums -----------------------------------------------------------------------


def test_groups_add_up_to_the_set(scored):
    report, utts = make_report(scored, group_by=["accent"])
    s_u, seconds = np.array(list(utts.values())).T
    assert set(report["groups"]) == {"speaker", "sex", "accent", "length"}
    counts = {"speaker": 22, "sex": 3, "accent": 2, "length": 4}
    masks = report["masks"]
    for grouping, of in report["groups"].items():
        groups = of["groups"]
        assert len(groups) == counts[grouping]
        assert pooled(groups, "utterances") == 50
        assert pooled(groups, "hours") == pytest.approx(seconds.sum() / 3600)
        assert pooled(groups, "share") == pytest.approx(1)
        assert pooled(groups, "weighted_share") == pytest.approx(1)
        count = [group["utterances"] for group in groups.values()]
        for figure in ("confidence", "weight"):  # the run has no weight: eq. 9
            means = [group[figure]["mean"] for group in groups.values()]
            assert np.average(means, weights=count) == pytest.approx(s_u.mean())
        own = groups[min(groups)]
        assert 0 < own["weighted_share"] < 1
    # every utterance is in the sample of masks: frames are those of the pool
    for kind in ("uniform", "guided"):
        found = [
            (m[kind]["masked_fraction"]["mean"], m[kind]["speech_share"]["mean"])
            for m in (g["masks"] for g in report["groups"]["accent"]["groups"].values())
        ]
        for (one, other), whole in zip(
            zip(*found), ("masked_fraction", "speech_share"), strict=True
        ):
            assert min(one, other) <= masks[kind][whole] <= max(one, other)
    assert "unknown" in report["groups"]["sex"]["groups"]
    text = format_report(json.loads(json.dumps(report)))
    assert "by accent: 2 groups" in text and "(the run's is none)" in text
    # of 22 readers the extremes among those of ten utterances: there are none
    assert "by speaker: 22 groups, " in text and "% of their means" in text


def test_groupings_say_something(scored):
    """Not of one group, nor one utterance each, nor twice the same."""
    utts = dict.fromkeys(scored.audio, (0.5, 2.0))  # no quartiles by length
    assert list(read_groupings(scored, utts)) == ["speaker", "sex"]
    write_table(scored.data / "utt2name", {utt: utt for utt in utts})
    write_table(scored.data / "utt2one", dict.fromkeys(utts, "one"))
    readers = {utt: f"reader {utt.partition('-')[0]}" for utt in utts}
    write_table(scored.data / "utt2reader", readers)
    more = ["name", "one", "reader", "accent"]
    found = read_groupings(scored, utts, more)
    assert list(found) == ["speaker", "sex", "reader", "accent"]
    with pytest.raises(DataError, match=r"utt2mood, which is to group .* not exist"):
        read_groupings(scored, utts, ["mood"])


def test_quartiles_hold_a_quarter_each(scored):
    utts = {utt: (0.5, float(i // 2)) for i, utt in enumerate(scored.audio)}
    quartiles = read_groupings(scored, utts)["length"]
    assert [len(own) for own in quartiles.values()] == [14, 12, 12, 12]
    assert list(quartiles)[0] == "1: 0.00-6.00 s"


# --- Weights --------------------------------------------------------------------


def test_weights_are_those_of_the_run(scored):
    run = RunMasking({}, GRID, GRID)
    utts = {utt: (0.2 + 0.01 * i, 2.0) for i, utt in enumerate(scored.audio)}
    sample = sample_masks(scored, list(utts)[:5], run, 400)
    s_u = np.array([confidence for confidence, _ in utts.values()])

    def weights(*args, **kwargs):
        found = utterance_weights(UtteranceWeight(*args, **kwargs), utts, sample)
        return np.array(list(found.values()))

    np.testing.assert_allclose(weights("none"), np.ones(50))
    np.testing.assert_allclose(weights("confidence"), s_u, rtol=1e-6)
    np.testing.assert_allclose(weights("relative"), s_u / s_u.mean(), rtol=1e-6)
    np.testing.assert_allclose(weights("confidence", 0.1), 0.1 * s_u + 0.9, rtol=1e-6)
    # s_u of masked frames: the mean over draws, which mask equally many frames
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for row, found in zip(
            sample.utterances.values(), weights("confidence", frames="masked")
        ):
            frames = torch.from_numpy(row.confidence)
            mask = run.draw(run.guided, frames, 400)
            own = UtteranceWeight("confidence", frames="masked")(
                frames.expand(400, -1), torch.full((400,), len(frames)), mask
            )
            assert found == pytest.approx(own.mean().item(), abs=0.03)


def test_weights_of_the_run_are_reported(scored):
    run = RunMasking({}, GRID, GRID, weight=UtteranceWeight("relative", 0.1))
    report, _ = make_report(scored, run=run, mask_utts=5)
    assert report["utterance_weight"] == {"run": "relative", "reported": "relative"}
    of_set = report["groups"]["sex"]["groups"].values()
    count = [group["utterances"] for group in of_set]
    means = [group["weight"]["mean"] for group in of_set]
    assert np.average(means, weights=count) == pytest.approx(1)


def test_nothing_is_sure(scored):
    """No confidence in anything, and no masks: shares are 0, not divided by it."""
    silent = copy.copy(scored)
    silent.confidence = lambda utt: np.zeros_like(scored.confidence(utt))
    silent.utterance = {}
    run = RunMasking({}, GRID, GRID, weight=UtteranceWeight("confidence"))
    report, _ = make_report(silent, run=run, mask_utts=0)
    sexes = report["groups"]["sex"]
    assert sexes["explained_variance"] == 0
    assert pooled(sexes["groups"], "share") == pytest.approx(1)
    assert pooled(sexes["groups"], "weighted_share") == 0
    assert sexes["groups"]["f"]["masks"] is None
    assert "NaN" not in json.dumps(report)
    assert "all alike" in format_report(report)
    run.weight = UtteranceWeight("confidence", frames="masked")
    report, _ = make_report(silent, run=run, mask_utts=0)
    assert report["groups"]["sex"]["groups"]["f"]["weight"] is None
    format_report(report)


# --- Statistics -----------------------------------------------------------------


def test_bootstrap_intervals_are_those_of_large_samples():
    rng = np.random.default_rng(0)
    values, weights = rng.beta(2, 5, 2000), rng.integers(1, 9, 2000)
    found = bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["high"] - found["mean"] == pytest.approx(half, rel=0.1)
    assert found["mean"] - found["low"] == pytest.approx(half, rel=0.1)
    weighted = bootstrap_mean(values, weights)
    assert weighted["mean"] == pytest.approx(np.average(values, weights=weights))
    residual = weights * (values - weighted["mean"]) / weights.mean()
    half = 1.96 * residual.std() / np.sqrt(2000)  # of a ratio, to the first order
    assert weighted["high"] - weighted["low"] == pytest.approx(2 * half, rel=0.1)
    assert bootstrap_mean(values[:9]) == {
        "mean": pytest.approx(values[:9].mean()),
        "low": None,
        "high": None,
    }


def test_effects_and_correlations_against_their_definitions():
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(1, 2, 400), rng.normal(0, 2, 300), rng.normal(0, 2, 50)
    found = effect_size(a, b)
    within = np.sqrt((399 * a.var(ddof=1) + 299 * b.var(ddof=1)) / 698)
    assert found["d"] == pytest.approx((a.mean() - b.mean()) / within)
    half = 1.96 * np.sqrt(1 / 400 + 1 / 300)
    assert found["high"] - found["d"] == pytest.approx(half, rel=0.03)
    assert effect_size(a[:9], b)["d"] is None

    every = np.concatenate([a, b, c])
    between = sum(len(x) * (x.mean() - every.mean()) ** 2 for x in (a, b, c))
    total = len(every) * every.var()
    noise = (total - between) / (len(every) - 3)
    omega = (between - 2 * noise) / (total + noise)
    assert explained_variance([a, b, c]) == pytest.approx(omega)
    assert explained_variance([np.ones(4), np.ones(5)]) == 0
    assert explained_variance([np.ones(4), np.zeros(5)]) == 1

    x, y = rng.integers(0, 9, 200), rng.random(200)  # ties
    y = y + 0.1 * x
    found = rank_correlation(x, y)
    assert found["rho"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found["low"] < found["rho"] < found["high"]
    assert rank_correlation(np.ones(200), y)["rho"] is None


# --- Warnings -------------------------------------------------------------------


def groups_of(**means):
    return {
        "language": {
            "explained_variance": 0.1,
            "groups": {
                name: {
                    "utterances": 50,
                    "hours": 1.0,
                    "share": 0.1,
                    "weighted_share": 0.1,
                    "confidence": {"mean": mean, "low": None, "high": None},
                    "weight": {"mean": mean, "low": None, "high": None},
                    "masks": None,
                    "effect": {"d": None, "low": None, "high": None},
                }
                for name, mean in means.items()
            },
        }
    }


def test_warnings_name_the_option_against_it():
    found = {"seconds": {"rho": -0.6}}
    (warning,) = confound_warnings(found, groups_of(en=0.6, fr=0.31), "confidence")
    assert "also weights by length (Spearman -0.60)" in warning
    assert warning.endswith("of like length") and "utterance_weight=relative" in warning
    (warning,) = confound_warnings(found, {}, "none")
    assert warning.endswith(
        "this run does not weight utterances (utterance_weight: none)"
    )
    groups = groups_of(en=0.6, de=0.4, fr=0.29)
    (warning,) = confound_warnings(found, groups, "relative")
    assert "language fr have less than half the weight of those of en" in warning
    assert "utterance_weight_fraction=0.1" in warning
    groups["language"]["groups"]["fr"]["utterances"] = 9  # too few to say
    assert confound_warnings({"seconds": {"rho": 0.4}}, groups, "confidence") == []


def test_of_many_groups_the_extremes_are_listed():
    means = {f"s{i:02d}": 0.3 + 0.01 * i for i in range(20)}
    groups = groups_of(**means)
    groups["language"]["groups"]["s00"]["utterances"] = 9
    lines = format_groups(groups)
    assert "5, 50 and 95 % of their means: 0.309, 0.395, 0.480" in lines[2]
    assert [x.split()[0] for x in lines[3:]] == [
        "s01",
        "s02",
        "s03",
        "s17",
        "s18",
        "s19",
    ]
