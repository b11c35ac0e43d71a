"""Rooms import only rooms before them, modules import in no circle, lazily or not."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

PACKAGE = Path(__file__).resolve().parents[1] / "espnet_a2m"
#: The way of the data; scorer is the old name of confidence
ROOMS = (
    *("core", "data", "compat", "masking", "confidence", "losses", "model", "training"),
    *("labels", "evaluation", "publish", "bin"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imported_modules(path: Path, known: set[str]) -> set[str]:
    """Modules of espnet_a2m that a file imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= names | {str(node.module)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules & known


PATHS = {module_name(path): path for path in PACKAGE.rglob("*.py")}
IMPORTS = {name: imported_modules(path, set(PATHS)) for name, path in PATHS.items()}


def test_rooms_import_only_rooms_before_them():
    folders = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert folders == {*ROOMS, "scorer"}
    backwards = [
        f"{name} imports {module}"
        for number, room in enumerate(ROOMS)
        for name in IMPORTS
        if f"{name}.".startswith(f"espnet_a2m.{room}.")
        for module in IMPORTS[name] - {"espnet_a2m"}
        if module.split(".")[1] not in ROOMS[: number + 1]
    ]
    assert not backwards


def test_modules_import_in_no_circle():
    TopologicalSorter(IMPORTS).prepare()  # CycleError names them
