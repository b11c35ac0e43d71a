"""The comparison that a sweep ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.evaluation.results import MEASURES, read_result
from espnet_a2m.evaluation.sweep import Cell, Description, Sweep
from espnet_a2m.training.stats import read_stats

#: Largest difference of coverages that are called equal
TOLERANCE = 0.01
NATS = "nats_gained_"
Epochs = Mapping[int, Mapping[str, Mapping[str, Any]]]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table, the first row its heading."""
    head, *rest = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|---" * len(rows[0]) + "|\n" + "".join(rest)


def coverage(runs: Sequence[Epochs]) -> float:
    """Share of frames that was masked in the last epoch, mean over seeds."""
    return fmean(float(run[max(run)]["train"]["masked_fraction"]) for run in runs)


def check_coverage(systems: Mapping[str, Sequence[Epochs]], reference: str) -> None:
    """Raise UserError where a system masks another share of frames than the reference.

    What differs in coverage differs in how hard the task is, whatever the guidance.
    """
    expected = coverage(systems[reference])
    faults = [
        f"\n  {name} masks {found:.3f} of the frames, {reference} {expected:.3f}"
        for name, runs in systems.items()
        if abs((found := coverage(runs)) - expected) > TOLERANCE
    ]
    if faults:
        raise UserError(
            "these systems do not compare: set mask_prob so that they mask as much, or "
            f"`allow_unequal_coverage: true` in the sweep's file:{''.join(faults)}"
        )


def training_table(systems: Mapping[str, Sequence[Epochs]]) -> str:
    """Of pre-training: what was masked and what was learnt, means over seeds."""
    gains = sorted(
        {
            key
            for runs in systems.values()
            for run in runs
            for key in run[max(run)]["valid"]
            if key.startswith(NATS)
        }
    )
    heads = [f"nats gained, {key.removeprefix(NATS)}: last / best" for key in gains]
    rows = [["system", "seeds", "masked", "guidance lift", *heads]]
    for name, runs in systems.items():
        lifts = []
        for run in runs:
            train = run[max(run)]["train"]
            if least := float(train.get("masked_least_confident", 0)):
                lifts.append(float(train["masked_most_confident"]) / least)
        row = [name, str(len(runs)), f"{coverage(runs):.3f}"]
        row.append(f"{fmean(lifts):.2f}" if lifts else "")
        for key in gains:
            values = [
                [float(run[e]["valid"][key]) for e in sorted(run)] for run in runs
            ]
            row.append(
                f"{fmean(v[-1] for v in values):.3f} / {fmean(map(max, values)):.3f}"
            )
        rows.append(row)
    return markdown(rows)


def error_rate_table(systems: Mapping[str, Sequence[Path]]) -> str:
    """Error rates in percent, means over seeds.

    Args:
        systems: Name -> decoded test set (EXP/DECODE/SET) of each seed, evaluated.

    Raises:
        UserError: One was not evaluated.
    """
    measures = ("WER", "CER")
    rows = [["system", "seeds", *measures, *(f"{m} of each seed" for m in measures)]]
    for name, folders in systems.items():
        means, single = [], []
        for measure in measures:
            rates = []
            for folder in folders:
                path = folder / MEASURES[measure]
                result = read_result(path, folder.parent.parent, measure)
                if result is None:
                    raise UserError(f"{path}: no results: evaluate the set first")
                rates.append(result.row["Err"])
            means.append(f"{fmean(rates):.1f}")
            single.append(" ".join(f"{rate:.1f}" for rate in rates))
        rows.append([name, str(len(folders)), *means, *single])
    return markdown(rows)


def write_report(
    output: Path,
    title: str,
    sweep: Sweep,
    cells: Sequence[Cell],
    described: Mapping[str, Description],
) -> str:
    """Write the comparison of the systems, in Markdown; returns it.

    Raises:
        UserError: They do not compare, or a result is missing.
    """
    runs: dict[str, list[Epochs]] = {}
    decoded: dict[str, dict[str, list[Path]]] = {}
    for cell in cells:
        description = described[str(cell)]
        runs.setdefault(cell.system, []).append(read_stats(description.ssl))
        for folder in description.decoded:
            decoded.setdefault(folder.name, {}).setdefault(cell.system, []).append(
                folder
            )
    if not sweep.allow_unequal_coverage:
        check_coverage(runs, sweep.reference)
    text = (
        f"# {title}\n\nMeans over the seeds. The reference is {sweep.reference}.\n\n"
        "## Pre-training\n\nMasked share of the frames and guidance lift (P(mask) of "
        "an utterance's most over its least confident quarter) in the last epoch of "
        f"training; nats gained in validation.\n\n{training_table(runs)}"
    )
    for dataset, systems in decoded.items():
        text += f"\n## {dataset}\n\nPercent.\n\n{error_rate_table(systems)}"
    write_atomic(output, text)
    return text
