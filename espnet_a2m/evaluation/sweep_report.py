"""The comparison that a sweep ends with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.evaluation.compare import compare, format_comparison
from espnet_a2m.evaluation.results import markdown_table
from espnet_a2m.evaluation.sweep import Cell, Description, Sweep
from espnet_a2m.training.stats import read_stats

#: Largest difference of coverages that are called equal
TOLERANCE = 0.01
NATS = "nats_gained_"
Epochs = Mapping[int, Mapping[str, Mapping[str, Any]]]


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
    return markdown_table(rows)


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
    decoded: dict[str, list[Path]] = {}
    for cell in cells:
        description = described[str(cell)]
        runs.setdefault(cell.system, []).append(read_stats(description.ssl))
        if description.decoded:  # EXP/DECODE/SET
            experiment = description.decoded[0].parent.parent
            decoded.setdefault(cell.system, []).append(experiment)
    if not sweep.allow_unequal_coverage:
        check_coverage(runs, sweep.reference)
    text = (
        f"# {title}\n\nMeans over the seeds. The reference is {sweep.reference}.\n\n"
        "## Pre-training\n\nMasked share of the frames and guidance lift (P(mask) of "
        "an utterance's most over its least confident quarter) in the last epoch of "
        f"training; nats gained in validation.\n\n{training_table(runs)}"
    )
    if decoded:
        found = compare(decoded, sweep.reference)
        text += "\n" + format_comparison(found)
        numbers = json.dumps(found, indent=1) + "\n"
        write_atomic(output.with_suffix(".json"), numbers)
    write_atomic(output, text)
    return text
