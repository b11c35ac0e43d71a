"""Comparisons of systems: intervals and tests against other routes, and faults."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import scipy.stats

from espnet_a2m.bin.compare import main
from espnet_a2m.core.errors import UserError
from espnet_a2m.evaluation.bootstrap import bootstrap_rates, percentiles
from espnet_a2m.evaluation.compare import (
    compare,
    compare_rates,
    format_comparison,
    length_groups,
    seed_interval,
    seed_test,
    utterance_p,
)
from espnet_a2m.evaluation.results import COLUMNS

pytestmark = pytest.mark.unit

TOKENS = {f"u{i:02}": i % 9 + 2 for i in range(24)}


def write_result(experiment, errors, tokens=None, folder="decode/test/score_wer"):
    """An evaluated experiment: ``errors`` of each utterance."""
    tokens = tokens or TOKENS
    utterances = {u: [n, e] for (u, n), e in zip(tokens.items(), errors, strict=True)}
    result = {"wer_tool": "none", **dict.fromkeys(COLUMNS, 0), "utterances": utterances}
    path = experiment / folder / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result))
    return experiment


@pytest.fixture
def systems(tmp_path):
    """Four seeds of two systems, the second of which is better, and one of a third."""
    rng, found = np.random.default_rng(0), {}
    n = np.array([*TOKENS.values()])
    for name, rate, seeds in (("base", 0.6, 4), ("better", 0.3, 4), ("single", 0.4, 1)):
        found[name] = [
            write_result(tmp_path / f"{name}_{i}", rng.binomial(n, rate).tolist())
            for i in range(seeds)
        ]
    return found


# --- Intervals and tests ----------------------------------------------------------


def test_the_bootstrap_over_utterances_is_scipys():
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 40, 80).astype(float)
    errors = rng.binomial(tokens.astype(int), 0.3).astype(float)
    theirs = scipy.stats.bootstrap(
        (errors, tokens),
        lambda e, n, axis: 100 * e.sum(axis) / n.sum(axis),
        **{"paired": True, "method": "percentile", "rng": 0, "n_resamples": 9999},
    ).confidence_interval
    ours = percentiles(bootstrap_rates(tokens, [errors[None]], 10_000)[0])
    np.testing.assert_allclose(ours, theirs, atol=0.15)  # of an interval of 5 points


@pytest.mark.parametrize(
    "seed_sd, utterance_sd, residual_sd",
    [(0.03, 0.1, 0.05), (0.03, 0.02, 0.02), (0.005, 0.2, 0.02)],
)
def test_intervals_cover_the_truth(seed_sd, utterance_sd, residual_sd):
    """Two systems of known rates, whose seeds and utterances are drawn each time."""
    rng, covered = np.random.default_rng(2), []
    for _ in range(400):
        tokens = rng.integers(5, 60, 100).astype(float)
        utterance = rng.normal(0, utterance_sd, 100)  # of both systems
        first, second = (
            tokens * (rate + utterance + rng.normal(0, seed_sd, (5, 1)))
            + tokens * rng.normal(0, residual_sd, (5, 100))
            for rate in (0.4, 0.35)
        )
        drawn = bootstrap_rates(tokens, [first, second], 500)
        intervals = percentiles(drawn[0]), percentiles(drawn[1] - drawn[0])
        truth = 40, -5
        covered.append([low <= t <= high for (low, high), t in zip(intervals, truth)])
    share = np.mean(covered, axis=0)
    assert (share > 0.92).all() and (share < 0.995).all(), share


def test_without_differences_between_utterances_it_is_the_t_interval():
    tokens, rng = np.full(30, 10.0), np.random.default_rng(3)
    rates = rng.normal(40, 3, 8)
    errors = rates[:, None] * tokens / 100
    ours = percentiles(bootstrap_rates(tokens, [errors], 10_000)[0])
    low, high = seed_interval(rates)
    np.testing.assert_allclose(ours, (low, high), atol=0.1 * (high - low))
    assert seed_interval(rates[:2]) is None


def test_differences_are_paired_by_utterance_and_seed():
    rng = np.random.default_rng(4)
    tokens = rng.integers(5, 50, 40).astype(float)
    errors = rng.binomial(tokens.astype(int), rng.uniform(0, 1, (4, 40))).astype(float)
    result = compare_rates(tokens, {"a": errors, "b": errors + tokens / 10}, "a")
    np.testing.assert_allclose(result["differences"]["b"]["interval"], (10, 10))
    low, high = result["systems"]["b"]["interval"]
    assert high - low > 5


def test_tests_over_seeds_are_students_and_welchs():
    a, b = np.array([41.0, 39.5, 38, 42]), np.array([44.0, 44.5, 41, 43])
    difference = a - b
    error = difference.std(ddof=1) / 2
    found = seed_test(a.tolist(), b.tolist())
    assert found["seed_test"] == "paired t"
    p = 2 * scipy.stats.t.sf(abs(difference.mean() / error), 3)
    assert found["seed_p"] == pytest.approx(p)
    half = 3.182446 * error  # of Student's table, 3 degrees of freedom
    expected = difference.mean() - half, difference.mean() + half
    assert found["seed_interval"] == pytest.approx(expected)

    a = a[:3]
    va, vb = a.var(ddof=1) / 3, b.var(ddof=1) / 4
    freedom = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 3)
    t = (a.mean() - b.mean()) / np.sqrt(va + vb)
    found = seed_test(a.tolist(), b.tolist())
    assert found["seed_test"] == "Welch's t"
    assert found["seed_p"] == pytest.approx(2 * scipy.stats.t.sf(abs(t), freedom))
    assert seed_test(a[:2].tolist(), b.tolist()) == {}


def test_the_test_over_utterances_counts_all_signs():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 9, (2, 3, 9)).astype(float)
    difference = (a - b).mean(0)
    signs = np.array([*itertools.product((1, -1), repeat=9)])
    sums = np.abs((signs * difference).sum(1))
    expected = (sums >= abs(difference.sum()) - 1e-9).mean()
    assert utterance_p(a, b) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_systems_without_errors_or_difference(tmp_path):
    systems = {
        name: [write_result(tmp_path / f"{name}{i}", [0] * 24) for i in range(3)]
        for name in ("a", "b")
    }
    found = compare(systems)
    difference = found["comparisons"][0]["differences"]["b"]
    assert difference["seed_p"] == difference["utterance_p"] == 1
    assert difference["interval"] == difference["seed_interval"] == (0, 0)
    assert difference["fewer_errors"] is difference["fewer_errors_interval"] is None
    json.dumps(found, allow_nan=False)
    assert "| 0.0 to 0.0" in format_comparison(found)


# --- Comparisons ------------------------------------------------------------------


def test_rates_and_differences(systems, tmp_path):
    speakers = tmp_path / "utt2spk"
    speakers.write_text("".join(f"{u} {'ab'[i > 4]}\n" for i, u in enumerate(TOKENS)))
    found = compare(systems, groups=[speakers])
    assert json.loads(json.dumps(found))["reference"] == "base"
    (result,) = found["comparisons"]
    assert (result["utterances"], result["tokens"]) == (24, sum(TOKENS.values()))

    def rate(path, utterances):
        saved = json.loads((path / "decode/test/score_wer/result.json").read_text())
        counts = np.array([saved["utterances"][u] for u in utterances])
        return 100 * counts[:, 1].sum() / counts[:, 0].sum()

    means = {}
    for name, paths in systems.items():
        rates = [rate(path, TOKENS) for path in paths]
        means[name] = np.mean(rates)
        assert result["systems"][name]["seeds"] == pytest.approx(rates)
        assert result["systems"][name]["mean"] == pytest.approx(means[name])
    better, single = (result["differences"][name] for name in ("better", "single"))
    assert better["points"] == pytest.approx(means["better"] - means["base"])
    fewer = 100 * (means["base"] - means["better"]) / means["base"]
    assert better["fewer_errors"] == pytest.approx(fewer)
    low, high = better["fewer_errors_interval"]
    assert 0 < low < fewer < high
    assert better["seed_p"] < 0.05 and better["utterance_p"] < 0.05
    assert (
        "seed_p" not in single and result["systems"]["single"]["seed_interval"] is None
    )

    group = result["groups"]["utt2spk"]["a"]
    assert group["utterances"] == 5
    rates = [rate(path, list(TOKENS)[:5]) for path in systems["better"]]
    assert group["systems"]["better"]["mean"] == pytest.approx(np.mean(rates))
    thirds = result["groups"]["length"]
    assert [*thirds] == ["2-4 tokens", "5-7 tokens", "8-10 tokens"]
    assert sum(part["tokens"] for part in thirds.values()) == result["tokens"]

    text = format_comparison(found)
    assert "single has 1 of 3 seeds that an interval over seeds takes" in text
    assert "fewer than 10 utterances" in text and "utt2spk a (5)" in text
    assert "## test WER (decode, 24 utterances" in text
    assert f"| {fewer:.1f} %" in text and "(paired t)" in text


def test_lengths_that_are_the_same_make_fewer_groups():
    masks = length_groups(np.array([3.0, 3, 3, 3, 7]))
    assert {name: mask.sum() for name, mask in masks.items()} == {
        "3-3 tokens": 4,
        "7-7 tokens": 1,
    }


def test_all_faults_at_once(systems, tmp_path):
    others = dict(TOKENS)
    del others["u03"]
    bad = {
        "base": [*systems["base"], tmp_path / "base_1"],
        "empty": [tmp_path / "nothing"],
        "set": [write_result(tmp_path / "set", [0] * 23, others)],
        "text": [write_result(tmp_path / "text", [0] * 24, {**TOKENS, "u05": 99})],
    }
    with pytest.raises(UserError) as error:
        compare(bad, reference="unknown")
    for message in (
        "--reference unknown: the systems are base, empty, set, text",
        "base_1: given 2 times",
        "nothing: no results in it",
        "set: decode test WER has other utterances or numbers of tokens than",
        "base_0: u03;",
        "base_0: u05;",
    ):
        assert message in str(error.value)


def test_sets_and_decodings_are_those_of_all(systems, tmp_path):
    for name in (*(f"base_{i}" for i in range(4)), "better_0", "better_1"):
        write_result(tmp_path / name, [1] * 24, folder="decode/far/score_wer")
    del systems["single"]
    assert [c["dataset"] for c in compare(systems)["comparisons"]] == ["test"]
    with pytest.raises(UserError, match=r"no results of far in common: .*better_2 \("):
        compare(systems, test_sets=["test", "far"])
    with pytest.raises(UserError, match="no results in decode_lm in common"):
        compare(systems, decoding="decode_lm")


def test_groups_must_have_all_utterances(systems, tmp_path):
    path = tmp_path / "utt2lang"
    path.write_text("u00 en\n")
    with pytest.raises(UserError, match="23 of 24 utterances of test are missing: u01"):
        compare(systems, groups=[path])
    path.write_text("v00 en\n")
    with pytest.raises(UserError, match="has no utterance of test"):
        compare(systems, groups=[path])


def test_command(systems, tmp_path, capsys):
    output = tmp_path / "out" / "compare.md"
    options = [["--system", name, *map(str, paths)] for name, paths in systems.items()]
    command = [*itertools.chain(*options), "--output", str(output)]
    main([*command, "--reference", "single"])
    assert output.read_text() in capsys.readouterr().out
    assert json.loads(output.with_suffix(".json").read_text())["reference"] == "single"
    with pytest.raises(SystemExit):
        main([*command, "--system", "base", "x", "--system", "none"])
    error = capsys.readouterr().err
    assert error == (
        "ERROR: --system base: given 2 times; --system none: no experiment "
        "directories\n"
    )
