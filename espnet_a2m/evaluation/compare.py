"""Compare systems, of which each experiment is a seed: differences and their errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from espnet_a2m.core.errors import UserError, preview
from espnet_a2m.core.files import PathLike
from espnet_a2m.data.tables import read_scp
from espnet_a2m.evaluation.bootstrap import MIN_SEEDS, bootstrap_rates, percentiles
from espnet_a2m.evaluation.results import MEASURES, Result, find_results, markdown_table

DRAWS = 10_000
#: Utterances below which a group's interval is not to be relied on
MIN_UTTERANCES = 10

#: Decoding, test set and measure
Key = tuple[str, str, str]


def read_systems(
    systems: Mapping[str, Sequence[PathLike]],
    reference: str,
    decoding: str | None,
    test_sets: Iterable[str] | None,
) -> dict[Key, dict[str, list[Result]]]:
    """What all experiments have results of, by system and seed.

    Raises UserError: names all that `compare` refuses.
    """
    faults: list[str] = []
    results: dict[Path, dict[Key, Result]] = {}
    if reference not in systems:
        names = ", ".join(systems)
        faults.append(f"--reference {reference}: the systems are {names}")
    paths = [Path(path) for seeds in systems.values() for path in seeds]
    for path in dict.fromkeys(paths):
        if (times := paths.count(path)) > 1:
            faults.append(f"{path}: given {times} times; each seed counts once")
        try:
            found = find_results([path])
            results[path] = {(r.decoding, r.dataset, r.measure): r for r in found}
        except UserError as error:
            faults.append(str(error))
    common = [
        key
        for key in next(iter(results.values()), {})
        if decoding in (None, key[0]) and all(key in r for r in results.values())
    ]
    if test_sets is not None:
        common = [key for key in common if key[1] in set(test_sets)]
    missing = sorted({*(test_sets or [])} - {key[1] for key in common})
    if results and (missing or not common):
        of = f" of {', '.join(missing)}" if missing else ""
        of += f" in {decoding}" if decoding else ""
        known = (f"{p} ({preview(map(' '.join, r), 9)})" for p, r in results.items())
        faults.append(
            f"the experiments have no results{of} in common: {', '.join(known)}"
        )
    for key in common:
        first, *others = results
        expected = tokens_of(results[first][key])
        if not expected:
            faults.append(
                f"{first}: {' '.join(key)} has no result.json with the errors of each "
                "utterance: evaluate it by bin.report score"
            )
        for path in others:
            tokens = tokens_of(results[path][key])
            if different := expected.items() ^ tokens.items():
                utts = preview(sorted({utt for utt, _ in different}))
                faults.append(
                    f"{path}: {' '.join(key)} has other utterances or numbers of "
                    f"tokens than {first}: {utts}; evaluate both on the same text"
                )
    if faults:
        raise UserError("\n  ".join(faults))
    common.sort(key=lambda key: (key[1], [*MEASURES].index(key[2]), key[0]))
    return {
        key: {
            name: [results[Path(path)][key] for path in seeds]
            for name, seeds in systems.items()
        }
        for key in common
    }


def tokens_of(result: Result) -> dict[str, int]:
    """Utterance -> tokens of its reference."""
    return {utt: tokens for utt, (tokens, _) in result.utterances.items()}


def read_groups(
    files: Iterable[PathLike], sets: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, str]]]:
    """Test set -> file (utt2spk, utt2lang, ...) -> utterance -> group.

    A file counts for the sets of which it has utterances. Raises UserError: it has some
    of a set, but not all, or those of none.
    """
    groups: dict[str, dict[str, dict[str, str]]] = {dataset: {} for dataset in sets}
    faults = []
    for path in map(Path, files):
        table, used = read_scp(path), False
        for dataset, utterances in sets.items():
            missing = [utt for utt in utterances if utt not in table]
            if len(missing) == len(utterances):
                continue
            used = True
            groups[dataset][path.name] = table
            if missing:
                faults.append(
                    f"{path}: {len(missing)} of {len(utterances)} utterances of "
                    f"{dataset} are missing: {preview(missing)}; complete it"
                )
        if not used:
            faults.append(f"{path}: has no utterance of {', '.join(sets)}")
    if faults:
        raise UserError("\n  ".join(faults))
    return groups


def length_groups(tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Thirds of utterances by the (N,) tokens of their references: name -> (N,) mask.

    There are fewer where many utterances are of one length.
    """
    third = np.searchsorted(np.quantile(tokens, [1 / 3, 2 / 3]), tokens)
    masks = [third == i for i in np.unique(third)]
    spans = [(tokens[mask].min(), tokens[mask].max()) for mask in masks]
    names = [f"{low:.0f}-{high:.0f} tokens" for low, high in spans]
    return dict(zip(names, masks))


def compare_rates(
    tokens: np.ndarray, errors: Mapping[str, np.ndarray], reference: str
) -> dict[str, Any]:
    """Rates of systems, and differences from the reference, with their intervals.

    Args:
        tokens: (N,) of the references.
        errors: System -> (S, N) of its seeds.
        reference: One of the systems.

    Returns, in percent or points, ``systems`` and ``differences`` by name.
    """
    drawn = dict(zip(errors, bootstrap_rates(tokens, [*errors.values()], DRAWS)))
    total = max(tokens.sum(), 1)
    rates = {name: 100 * e.sum(1) / total for name, e in errors.items()}
    base = float(rates[reference].mean())
    systems, differences = {}, {}
    for name, of_seeds in rates.items():
        mean = float(of_seeds.mean())
        interval = percentiles(drawn[name])
        systems[name] = {"seeds": of_seeds.tolist(), "mean": mean, "interval": interval}
        if name == reference:
            continue
        fewer_interval = None
        if (drawn[reference] > 0).all():
            ratio = drawn[name] / drawn[reference]
            fewer_interval = percentiles(100 * (1 - ratio))
        differences[name] = {
            "points": mean - base,
            "interval": percentiles(drawn[name] - drawn[reference]),
            "fewer_errors": 100 * (1 - mean / base) if base else None,
            "fewer_errors_interval": fewer_interval,
        }
    return {
        "utterances": len(tokens),
        "tokens": int(tokens.sum()),
        "systems": systems,
        "differences": differences,
    }


def seed_interval(rates: Sequence[float]) -> tuple[float, float] | None:
    """Student's 95 % interval of the mean over seeds; None of fewer than three."""
    if len(rates) < MIN_SEEDS:
        return None
    half = scipy.stats.t.ppf(0.975, len(rates) - 1) * scipy.stats.sem(rates)
    mean = np.mean(rates)
    return float(mean - half), float(mean + half)


def seed_test(rates: Sequence[float], base: Sequence[float]) -> dict[str, Any]:
    """p of no difference over seeds: paired where both systems have as many.

    Adds the t interval of the difference. Empty with fewer than three seeds.
    """
    if min(len(rates), len(base)) < MIN_SEEDS:
        return {}
    paired = len(rates) == len(base)
    test = (
        scipy.stats.ttest_rel(rates, base)
        if paired
        else scipy.stats.ttest_ind(rates, base, equal_var=False)
    )
    interval = test.confidence_interval()
    return {
        "seed_test": "paired t" if paired else "Welch's t",
        # 0 / 0 where both systems have the same rates
        "seed_p": float(np.nan_to_num(test.pvalue, nan=1.0)),
        "seed_interval": (float(interval.low), float(interval.high)),
    }


def utterance_p(errors: np.ndarray, base: np.ndarray) -> float:
    """p of no difference over utterances: signs of their differences are permuted.

    ``errors`` and ``base`` are (S, N); each utterance counts by its mean over seeds.
    """
    test = scipy.stats.permutation_test(
        (errors.mean(0) - base.mean(0),),
        lambda values, axis: values.mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=DRAWS - 1,
        batch=500,
        rng=0,
    )
    return float(test.pvalue)


def compare_results(
    by_system: Mapping[str, Sequence[Result]],
    reference: str,
    groups: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Compare the results of systems and seeds on one test set, by one measure.

    ``groups`` is file -> utterance -> group. Returns what `compare_rates` says, with
    intervals over seeds and p-values, and by ``groups``: file -> group -> the same.
    """
    utts = [*by_system[reference][0].utterances]
    counts = {
        name: np.array([[r.utterances[utt] for utt in utts] for r in seeds], float)
        for name, seeds in by_system.items()
    }  # (S, N, 2)
    tokens = counts[reference][0, :, 0]
    errors = {name: of_system[..., 1] for name, of_system in counts.items()}
    result = compare_rates(tokens, errors, reference)
    systems = result["systems"]
    for rates in systems.values():
        rates["seed_interval"] = seed_interval(rates["seeds"])
    for name, difference in result["differences"].items():
        difference |= seed_test(systems[name]["seeds"], systems[reference]["seeds"])
        difference["utterance_p"] = utterance_p(errors[name], errors[reference])
    masks = {("length", name): mask for name, mask in length_groups(tokens).items()}
    for title, table in groups.items():
        values = np.array([table[utt] for utt in utts])
        masks |= {(title, str(value)): values == value for value in np.unique(values)}
    parts: dict[str, dict[str, Any]] = {}
    for (title, name), mask in masks.items():
        of_group = {system: e[:, mask] for system, e in errors.items()}
        part = compare_rates(tokens[mask], of_group, reference)
        parts.setdefault(title, {})[name] = part
    return {**result, "groups": parts}


def compare(
    systems: Mapping[str, Sequence[PathLike]],
    reference: str | None = None,
    decoding: str | None = None,
    test_sets: Iterable[str] | None = None,
    groups: Iterable[PathLike] = (),
) -> dict[str, Any]:
    """Compare systems on every test set and measure that all experiments have.

    Args:
        systems: Name -> experiment directories, one a seed. Seeds of two systems pair
            where they are as many, in this order.
        reference: The system that others are compared with; the first one if None.
        decoding: Name of the decoding directory; all if None.
        test_sets: Sets that must be there; all common ones if None.
        groups: Tables utt2spk, utt2lang, ... by which utterances are grouped as well.

    Returns ``reference``, ``experiments`` by system, ``warnings``, and ``comparisons``,
    for each decoding, test set and measure what `compare_results` says; in JSON's
    types.

    Raises:
        UserError: Names all that does not go together.
    """
    reference = reference or next(iter(systems))
    found = read_systems(systems, reference, decoding, test_sets)
    sets = {key[1]: [*found[key][reference][0].utterances] for key in found}
    grouped = read_groups(groups, sets)
    warnings = [
        f"{name} has {len(seeds)} of {MIN_SEEDS} seeds that an interval over seeds "
        "takes: one seed is an anecdote; its intervals are over utterances alone"
        for name, seeds in systems.items()
        if len(seeds) < MIN_SEEDS
    ]
    comparisons = []
    for (decoding_name, dataset, measure), by_system in found.items():
        names = {"decoding": decoding_name, "dataset": dataset, "measure": measure}
        result = compare_results(by_system, reference, grouped[dataset])
        comparisons.append({**names, **result})
        small = [
            f"{title} {name} ({part['utterances']})"
            for title, parts in result["groups"].items()
            for name, part in parts.items()
            if part["utterances"] < MIN_UTTERANCES
        ]
        if small:
            warnings.append(
                f"{dataset} {measure}: fewer than {MIN_UTTERANCES} utterances in "
                f"{preview(small, 9)}: their intervals are too narrow"
            )
    return {
        "reference": reference,
        "experiments": {n: [str(path) for path in p] for n, p in systems.items()},
        "warnings": warnings,
        "comparisons": comparisons,
    }


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def format_comparison(comparison: Mapping[str, Any]) -> str:
    """Markdown of what `compare` returns."""
    reference = comparison["reference"]
    text = (
        "# Comparison of systems\n\nError rates in percent, with 95 % intervals. "
        '"Over seeds" is Student\'s, of these utterances; the others are '
        f"percentiles of {DRAWS} bootstrap draws of utterances and seeds together. "
        "p over utterances permutes the signs of their differences, means over seeds. "
        "No p is corrected for several comparisons.\n"
    )
    text += "".join(f"\n**Warning**: {line}.\n" for line in comparison["warnings"])
    for result in comparison["comparisons"]:
        differences = result["differences"]
        text += (
            "\n## {dataset} {measure} ({decoding}, {utterances} utterances, "
            "{tokens} tokens)\n\n".format(**result)
        )
        rows = [["system", "seeds", "mean", "over seeds", "over both"]]
        for name, rates in result["systems"].items():
            seeds = " ".join(f"{rate:.1f}" for rate in rates["seeds"])
            intervals = _range(rates["seed_interval"]), _range(rates["interval"])
            rows.append([name, seeds, f"{rates['mean']:.1f}", *intervals])
        text += markdown_table(rows)
        if differences:
            rows = [[f"minus {reference}", "points", "over seeds", "over both"]]
            rows[0] += ["fewer errors", "over both", "p, seeds", "p, utterances"]
        for name, d in differences.items():
            row = [name, f"{d['points']:+.1f}", _range(d.get("seed_interval"))]
            row += [_range(d["interval"])]
            if d["fewer_errors"] is None:
                row += ["", ""]
            else:
                of_errors = _range(d["fewer_errors_interval"])
                row += [f"{d['fewer_errors']:.1f} %", of_errors]
            test = f" ({d['seed_test']})" if "seed_test" in d else ""
            row += [_p(d.get("seed_p")) + test, _p(d["utterance_p"])]
            rows.append(row)
        if differences:
            text += "\n" + markdown_table(rows)
        rows = [["group", "", "utterances", "tokens", *result["systems"]]]
        rows[0] += [f"{name} - {reference}" for name in differences]
        for title, parts in result["groups"].items():
            for name, part in parts.items():
                row = [title, name, str(part["utterances"]), str(part["tokens"])]
                row += [f"{s['mean']:.1f}" for s in part["systems"].values()]
                row += [
                    f"{d['points']:+.1f} ({_range(d['interval'])})"
                    for d in part["differences"].values()
                ]
                rows.append(row)
        text += "\n" + markdown_table(rows)
    return text
