"""RESULTS.md: a summary of error rates, and ESPnet's tables of them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import PathLike, write_atomic

COLUMNS = ("Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")
MEASURES = {"WER": "score_wer", "CER": "score_cer", "TER": "score_ter"}
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True)
class Result:
    """Error rates of one decoded set."""

    experiment: Path  # directory of the model
    decoding: str  # name of the decoding directory in it
    dataset: str  # test set
    measure: str  # WER, CER or TER
    row: dict[str, float]  # ESPnet's columns
    interval: tuple[float, float] | None  # 95 % confidence interval of Err, if known
    wer_tool: str  # that computed the error rates


def bootstrap_interval(utterances: Iterable[tuple[int, int]]) -> tuple[float, float]:
    """95 % confidence interval of the error rate in percent, resampling utterances.

    Bisani and Ney, ICASSP 2004: the test set is resampled with replacement.

    Args:
        utterances: (tokens of the reference, errors) of each.
    """
    words, errors = np.array(list(utterances), dtype=float).T
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(words), size=len(words))
        rates.append(100 * errors[drawn].sum() / max(words[drawn].sum(), 1))
    low, high = np.percentile(rates, (2.5, 97.5)).tolist()
    return low, high


def read_result(directory: Path, experiment: Path, measure: str) -> Result | None:
    """Read one ``score_*`` directory; None if it has no results.

    ESPnet's own directories have only sclite's ``result.txt``, with the totals.

    Raises:
        UserError: A file is damaged.
    """
    names = (experiment, directory.parent.parent.name, directory.parent.name, measure)
    if (directory / "result.json").exists():
        try:
            saved = json.loads((directory / "result.json").read_text(encoding="utf-8"))
            row = {column: float(saved[column]) for column in COLUMNS}
            interval = bootstrap_interval(saved["utterances"].values())
            # files written before the key was renamed have "scorer"
            tool = str(saved.get("wer_tool") or saved["scorer"])
        except Exception as e:  # a damaged file can raise anything
            raise UserError(
                f"{directory}/result.json: not a result ({e!r}); evaluate the set again"
            ) from e
        return Result(*names, row, interval, tool)
    if (directory / "result.txt").exists():
        text = (directory / "result.txt").read_text(encoding="utf-8", errors="replace")
        total = re.search(r"\| *Sum/Avg *\|([^|]*)\|([^|]*)\|", text)
        numbers = (total[1] + total[2]).split() if total else []
        with contextlib.suppress(ValueError):
            row = dict(zip(COLUMNS, map(float, numbers), strict=True))
            return Result(*names, row, None, "sclite")
        raise UserError(
            f"{directory}/result.txt: no line Sum/Avg; evaluate the set again"
        )
    return None


def find_results(experiments: Iterable[PathLike]) -> list[Result]:
    """All results in ``<experiment>/<decoding>/<set>/score_{wer,cer,ter}``.

    Raises:
        UserError: An experiment holds none.
    """
    results = []
    for name in experiments:
        experiment = Path(name)
        found = [
            result
            for measure, folder in MEASURES.items()
            for directory in sorted(experiment.glob(f"*/*/{folder}"))
            if (result := read_result(directory, experiment, measure))
        ]
        if not found:
            raise UserError(
                f"{experiment}: no results in it; decode (bin.decode) and evaluate "
                "(bin.report score) first"
            )
        results += found
    return results


def _git(*command: str) -> str:
    try:
        return subprocess.check_output(
            ["git", *command], text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository"


def environment() -> str:
    """The software versions behind the results, as ESPnet lists them."""
    now = datetime.datetime.now().astimezone()
    versions = dict.fromkeys(("espnet", "espnet_a2m", "torch"), "not installed")
    for package in versions:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return (
        "## Environments\n\n"
        f"- date: `{now:%a %b %d %H:%M:%S %Z %Y}`\n"
        f"- python version: `{platform.python_version()}`\n"
        f"- espnet version: `espnet {versions['espnet']}`\n"
        f"- espnet_a2m version: `{versions['espnet_a2m']}`\n"
        f"- pytorch version: `pytorch {versions['torch']}`\n"
        f"- Git hash: `{_git('rev-parse', 'HEAD')}`\n"
        f"  - Commit date: `{_git('log', '-1', '--format=%cd')}`\n"
    )


def summary(results: list[Result]) -> str:
    """Experiments side by side: a row each, a column per test set and measure."""
    decodings = {r.decoding for r in results}
    rows: dict[str, dict[str, str]] = {}
    for r in results:
        name = r.experiment.name + (f" ({r.decoding})" if len(decodings) > 1 else "")
        cell = f"{r.row['Err']:.1f}"
        if r.interval:
            cell += " [{:.1f}, {:.1f}]".format(*r.interval)
        rows.setdefault(name, {})[f"{r.dataset} {r.measure}"] = cell
    order = sorted({(r.dataset, list(MEASURES).index(r.measure)) for r in results})
    columns = [f"{dataset} {list(MEASURES)[i]}" for dataset, i in order]
    table = [["experiment", *columns]]
    table += [[name, *(row.get(c, "") for c in columns)] for name, row in rows.items()]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines) + "\n"


def tables(results: list[Result]) -> str:
    """ESPnet's table of each experiment and measure."""
    parts = []
    for experiment in dict.fromkeys(r.experiment for r in results):
        parts.append(f"## {experiment}\n")
        for measure in MEASURES:
            names = (experiment, measure)
            rows = [r for r in results if (r.experiment, r.measure) == names]
            if rows:
                parts.append(f"### {measure}\n\n|dataset|{'|'.join(COLUMNS)}|")
                parts.append("|---" * (len(COLUMNS) + 1) + "|")
            for r in rows:
                counts = "|".join(f"{r.row[c]:.0f}" for c in COLUMNS[:2])
                rates = "|".join(f"{r.row[c]:.1f}" for c in COLUMNS[2:])
                parts.append(f"|{r.decoding}/{r.dataset}|{counts}|{rates}|")
            parts += [""] if rows else []
    return "\n".join(parts)


def write_results(experiments: Iterable[PathLike], output: PathLike) -> str:
    """Write RESULTS.md; returns the summary for the terminal.

    Raises:
        UserError: An experiment holds no results.
    """
    results = find_results(experiments)
    short = summary(results)
    tools = ", ".join(sorted({r.wer_tool.split(" (")[0] for r in results}))
    write_atomic(
        output,
        f"# RESULTS\n\n{environment()}\n## Summary\n\n"
        f"Error rates in percent, computed by {tools}; in brackets 95 % confidence "
        f"intervals (bootstrap over utterances).\n\n{short}\n{tables(results)}",
    )
    return short
