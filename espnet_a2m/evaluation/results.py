"""RESULTS.md: a summary of error rates, and ESPnet's tables of them."""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import PathLike, write_atomic
from espnet_a2m.evaluation.bootstrap import bootstrap_rates, percentiles

COLUMNS = ("Snt", "Wrd", "Corr", "Sub", "Del", "Ins", "Err", "S.Err")
MEASURES = {"WER": "score_wer", "CER": "score_cer", "TER": "score_ter"}
RESAMPLES = 1000


class Result(NamedTuple):
    """Error rates of one decoded set."""

    experiment: Path  # directory of the model
    decoding: str  # name of the decoding directory in it
    dataset: str  # test set
    measure: str  # WER, CER or TER
    row: dict[str, float]  # ESPnet's columns
    utterances: dict[str, tuple[int, int]]  # tokens and errors of each, if known
    wer_tool: str  # that computed the error rates

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of Err over utterances, if these are known."""
        if not self.utterances:
            return None
        words, errors = np.array(list(self.utterances.values()), dtype=float).T
        return percentiles(bootstrap_rates(words, [errors[None]], RESAMPLES)[0])


def read_result(directory: Path, experiment: Path, measure: str) -> Result | None:
    """Read one ``score_*`` directory; None if it has no results.

    ESPnet's own directories have only sclite's ``result.txt``, with the totals. Raises
    UserError: a file is damaged.
    """
    names = (experiment, directory.parent.parent.name, directory.parent.name, measure)
    path = directory / "result.json"
    try:
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            row = {column: float(saved[column]) for column in COLUMNS}
            utterances = {
                utt: (int(n), int(e)) for utt, (n, e) in saved["utterances"].items()
            }
            # files written before the key was renamed have "scorer"
            tool = str(saved.get("wer_tool") or saved["scorer"])
            return Result(*names, row, utterances, tool)
        path = directory / "result.txt"
        if not path.exists():
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"\| *Sum/Avg *\|([^|]*)\|([^|]*)\|", text)
        if not found:
            raise ValueError("no line Sum/Avg")
        numbers = map(float, " ".join(found.groups()).split())
        row = dict(zip(COLUMNS, numbers, strict=True))
        return Result(*names, row, {}, "sclite")
    except Exception as e:  # a damaged file can raise anything
        raise UserError(f"{path}: not a result ({e!r}); evaluate the set again") from e


def find_results(experiments: Iterable[PathLike]) -> list[Result]:
    """All results in ``<experiment>/<decoding>/<set>/score_{wer,cer,ter}``.

    Raises UserError: an experiment holds none.
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
        done = subprocess.run(
            ["git", *command], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not in a git repository"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment() -> str:
    """The software versions behind the results, as ESPnet lists them."""
    now = datetime.datetime.now().astimezone()
    return (
        "## Environments\n\n"
        f"- date: `{now:%a %b %d %H:%M:%S %Z %Y}`\n"
        f"- python version: `{platform.python_version()}`\n"
        f"- espnet version: `espnet {_version('espnet')}`\n"
        f"- espnet_a2m version: `{_version('espnet_a2m')}`\n"
        f"- pytorch version: `pytorch {_version('torch')}`\n"
        f"- Git hash: `{_git('rev-parse', 'HEAD')}`\n"
        f"  - Commit date: `{_git('log', '-1', '--format=%cd')}`\n"
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of which are titles, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    padded = ([cell.ljust(w) for cell, w in zip(line, widths)] for line in rows)
    lines = [f"| {' | '.join(line)} |\n" for line in padded]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|\n")
    return "".join(lines)


def summary(results: list[Result]) -> str:
    """Experiments side by side: a row each, a column per test set and measure."""
    decodings = {r.decoding for r in results}
    rows: dict[str, dict[str, str]] = {}
    for r in results:
        name = r.experiment.name + (f" ({r.decoding})" if len(decodings) > 1 else "")
        cell = f"{r.row['Err']:.1f}"
        if interval := r.interval:
            cell += " [{:.1f}, {:.1f}]".format(*interval)
        rows.setdefault(name, {})[f"{r.dataset} {r.measure}"] = cell
    order = sorted({(r.dataset, list(MEASURES).index(r.measure)) for r in results})
    columns = [f"{dataset} {list(MEASURES)[i]}" for dataset, i in order]
    table = [["experiment", *columns]]
    table += [[name, *(row.get(c, "") for c in columns)] for name, row in rows.items()]
    return markdown_table(table)


def tables(results: list[Result]) -> str:
    """ESPnet's table of each experiment and measure."""
    text = ""
    for experiment, of_model in groupby(results, lambda r: r.experiment):
        text += f"\n## {experiment}\n"
        for measure, of_measure in groupby(of_model, lambda r: r.measure):
            text += f"\n### {measure}\n\n|dataset|{'|'.join(COLUMNS)}|\n"
            text += "|---" * (len(COLUMNS) + 1) + "|\n"
            for r in of_measure:
                counts = "|".join(f"{r.row[c]:.0f}" for c in COLUMNS[:2])
                rates = "|".join(f"{r.row[c]:.1f}" for c in COLUMNS[2:])
                text += f"|{r.decoding}/{r.dataset}|{counts}|{rates}|\n"
    return text


def write_results(experiments: Iterable[PathLike], output: PathLike) -> str:
    """Write RESULTS.md; returns the summary for the terminal.

    Raises UserError: an experiment holds no results.
    """
    results = find_results(experiments)
    short = summary(results)
    tools = ", ".join(sorted({r.wer_tool.split(" (")[0] for r in results}))
    write_atomic(
        output,
        f"# RESULTS\n\n{environment()}\n## Summary\n\n"
        f"Error rates in percent, computed by {tools}; in brackets 95 % confidence "
        f"intervals (bootstrap over utterances).\n\n{short}{tables(results)}",
    )
    return short
