"""Sweeps: systems x seeds of a recipe, checked before the first of them runs."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from espnet_a2m.core.config import load_config, nearest
from espnet_a2m.core.errors import UserError

#: Options that are not a cell's own
OF_SWEEP = {"sweep", "sweep_nj", "stage", "stop_stage"}
#: Options that get the seed without being told
SEEDED = ("ssl_args", "asr_args")


class Sweep(NamedTuple):
    """A file of conf/sweeps."""

    seeds: list[int] = []
    reference: str = ""  # the system that others are compared with
    systems: dict[str, dict[str, Any]] = {}  # name -> options of the recipe
    options: dict[str, Any] = {}  # of all systems
    allow_unequal_coverage: bool = False


class Cell(NamedTuple):
    """A system with a seed: options of the recipe's run.sh."""

    system: str
    seed: int
    options: dict[str, str]

    def __str__(self) -> str:
        return f"{self.system} {self.seed}"


class Description(NamedTuple):
    """What the recipe says of a cell; see local/sweep.sh."""

    check: tuple[str, ...]  # words of bin.check_recipe
    data: str  # cells with the same have the same data
    scorer: str  # and the same confidences
    ssl: Path  # experiment of pre-training
    decoded: tuple[Path, ...]  # of each test set, with the error rates in it
    writes: dict[str, str]  # directory -> what it is written from


def as_word(value: Any) -> str:
    """The value of an option in YAML as run.sh takes it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def find_faults(sweep: Sweep, known: Collection[str]) -> list[str]:
    """What is wrong with a sweep, apart from the values of options."""
    faults = []
    seeds, systems = sweep.seeds, sweep.systems
    if not isinstance(seeds, list) or not seeds or {type(s) for s in seeds} != {int}:
        faults.append(f"seeds: expected a list of integers, found {seeds!r}")
    elif len(set(seeds)) < len(seeds):
        faults.append(f"seeds: one is given twice: {seeds}")
    if not isinstance(systems, dict) or not systems:
        return [*faults, "systems: expected `name: {option: value}` lines"]
    if sweep.reference not in systems:
        hint = nearest(sweep.reference, systems)
        faults.append(f"reference: no system {sweep.reference!r}: {hint}")
    parts = {"options": sweep.options}
    for name, own in systems.items():
        parts[f"system {name}"] = own
        if not re.fullmatch(r"[\w.+-]+", str(name)):
            faults.append(f"system {name!r}: only letters, digits and . + - _")
    for where, options in parts.items():
        if not isinstance(options or {}, dict):
            faults.append(f"{where}: expected `option: value` lines")
            continue
        for option, value in (options or {}).items():
            if option in OF_SWEEP:
                faults.append(f"{where}: {option}: give it on the command line")
            elif option not in known:
                hint = nearest(option, known)
                faults.append(f"{where}: run.sh has no option {option!r}: {hint}")
            elif isinstance(value, list | dict):
                faults.append(f"{where}: {option}: expected words, found {value!r}")
    return faults


def known_options(recipe: Sequence[str]) -> set[str]:
    """Options of run.sh."""
    done = subprocess.run([*recipe, "--help"], capture_output=True, text=True)
    if done.returncode:
        raise UserError(error_of(done))
    return set(re.findall(r"^  --(\w+) ", done.stdout, re.M))


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """What a run.sh that was refused has said."""
    return done.stderr.partition("ERROR: ")[2].strip() or done.stderr.strip()


def read_sweep(path: Path, recipe: Sequence[str]) -> Sweep:
    """Read a file of conf/sweeps.

    Args:
        path: The file.
        recipe: ``./run.sh`` and the options of all cells.

    Raises:
        UserError: Names the file and all its faults.
    """
    known = known_options(recipe)
    config = load_config(path)
    fields = Sweep._fields
    faults = [
        f"unknown key {key!r}: {nearest(key, fields)}"
        for key in config
        if key not in fields
    ]
    sweep = Sweep(**{key: config[key] for key in config if key in fields})
    raise_faults(path, faults + find_faults(sweep, known))
    return sweep


def raise_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise UserError with all the faults of a file, if there are any."""
    if faults:
        lines = "".join(f"\n  {fault}" for fault in faults)
        raise UserError(f"{path}: nothing was run:{lines}")


def make_cells(name: str, sweep: Sweep, base: Mapping[str, str]) -> list[Cell]:
    """The cells of a sweep, all seeds of a system before the next system.

    Args:
        name: Of the sweep, for tags.
        sweep: Its file.
        base: ``*_args`` of the recipe and the command line, to which those of the
            sweep are added.
    """
    cells = []
    for system, own in sweep.systems.items():
        for seed in sweep.seeds:
            tag = f"{name}_{system}_{seed}"
            options = {"ssl_tag": tag, "asr_tag": tag}
            args = dict(base)
            for option in SEEDED:
                args[option] = f"{args.get(option, '')} --seed {seed}".strip()
            for option, value in [*(sweep.options or {}).items(), *(own or {}).items()]:
                word = as_word(value).replace("{seed}", str(seed))
                word = word.replace("{system}", system)
                if option in args:
                    args[option] = f"{args[option]} {word}".strip()
                else:
                    options[option] = word
            options |= {name: x for name, x in args.items() if x != base.get(name)}
            cells.append(Cell(system, seed, options))
    return cells


def command_line(recipe: Sequence[str], cell: Cell, stages: str) -> list[str]:
    """``./run.sh`` with the options of a cell, at some stages."""
    options = [w for name, value in cell.options.items() for w in (f"--{name}", value)]
    return [*recipe, *options, *stages.split()]


def describe(recipe: Sequence[str], cell: Cell, stages: str) -> Description:
    """Ask the recipe about a cell. Raises UserError: it refuses the options."""
    command = [*command_line(recipe, cell, stages), "--describe", "true"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(error_of(done))
    found = defaultdict(list)
    for line in done.stdout.splitlines():
        kind, _, value = line.partition("\t")
        found[kind].append(value)
    return Description(
        check=tuple(found["check"]),
        data=found["data"][0],
        scorer=found["scorer"][0],
        ssl=Path(found["ssl"][0]),
        decoded=tuple(map(Path, found["decoded"])),
        writes=dict(line.split("\t") for line in found["writes"]),
    )


def find_collisions(described: Mapping[str, Description]) -> list[str]:
    """Directories that cells would write from different options, two cells of each."""
    faults: dict[str, str] = {}
    seen: dict[str, tuple[str, str]] = {}
    for cell, description in described.items():
        for folder, source in description.writes.items():
            other, before = seen.setdefault(folder, (cell, source))
            if before != source:
                faults.setdefault(
                    folder,
                    f"{other} and {cell} would both write {folder}, from '{before}' "
                    f"and from '{source}': give each its own name (--*_tag, --expdir)",
                )
    return list(faults.values())


def check_cells(
    path: Path,
    recipe: Sequence[str],
    cells: Sequence[Cell],
    stages: str,
    check: Callable[[Sequence[str]], object],
) -> dict[str, Description]:
    """Ask the recipe about every cell and check the configurations of each system.

    Args:
        path: The sweep's file, for messages.
        recipe: The recipe's command line.
        cells: All cells.
        stages: Options of run.sh: the stages of scorers and cells.
        check: ``bin.check_recipe``, which raises UserError.

    Returns:
        Name of a cell -> what the recipe says of it.

    Raises:
        UserError: Names all faults.
    """
    faults: dict[str, str] = {}
    described: dict[str, Description] = {}

    def ask(cell: Cell) -> Description | UserError:
        try:
            return describe(recipe, cell, stages)
        except UserError as e:
            return e

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, cells))
    for cell, answer in zip(cells, answers):
        try:
            if isinstance(answer, UserError):
                raise answer
            described[str(cell)] = answer
            if cell.seed == cells[0].seed:  # another makes no difference
                check(answer.check)
        except UserError as e:
            faults.setdefault(cell.system, str(e))
    named = [f"system {system}: {fault}" for system, fault in faults.items()]
    raise_faults(path, named + find_collisions(described))
    return described
