"""Each room imports only rooms that come before it, wherever in a file it does so."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "espnet_a2m"
#: The way of the data; scorer is the old name of confidence
ROOMS = (
    *("core", "data", "compat", "masking", "confidence", "losses", "model", "training"),
    *("labels", "evaluation", "publish", "bin"),
)


def imported_rooms(path: Path) -> set[str]:
    """Rooms of espnet_a2m that a file imports, lazily or not."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "espnet_a2m":
            modules |= {f"espnet_a2m.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            modules.add(str(node.module))
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in modules if name.startswith("espnet_a2m.")}


def test_rooms_import_only_rooms_before_them():
    folders = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert folders == {*ROOMS, "scorer"}
    backwards = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for number, name in enumerate(ROOMS)
        for path in (PACKAGE / name).rglob("*.py")
        for room in imported_rooms(path) - set(ROOMS[: number + 1])
    ]
    assert not backwards
