"""The implementations that ours is compared with: their own code, never a copy.

``make bench`` unpacks fairseq's sources; the others are in this package's environment.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import platform
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

PACKAGES = ("torch", "torchaudio", "espnet", "transformers", "numpy", "kaldiio")
FAIRSEQ_SOURCES = ".cache"


def versions() -> dict[str, str]:
    """Versions of Python and of every package that takes part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        if importlib.util.find_spec(name) is not None:
            found[name] = importlib.metadata.version(name)
    if (root := fairseq_root()) is not None:
        found["fairseq"] = root.name.removeprefix("fairseq-")
    return found


def has_transformers() -> bool:
    """Whether transformers is in this environment."""
    return importlib.util.find_spec("transformers") is not None


def transformers_wav2vec2() -> types.ModuleType:
    """The module ``transformers.models.wav2vec2.modeling_wav2vec2``."""
    from transformers.models.wav2vec2 import modeling_wav2vec2

    return modeling_wav2vec2


def fairseq_root() -> Path | None:
    """Folder of fairseq's unpacked source archive, or None."""
    roots = (Path(__file__).resolve().parents[1] / FAIRSEQ_SOURCES).glob("fairseq-*/")
    return next(iter(sorted(roots)), None)


def fairseq(file: str, *names: str, owner: str | None = None) -> types.SimpleNamespace:
    """Functions out of a source file of fairseq, compiled as they stand.

    Importing fairseq 0.12.2 fails on Python 3.11 and later, and needs releases of
    other packages that are long gone; single functions do not.

    Args:
        file: Source file below ``fairseq/``.
        *names: Functions to take from it.
        owner: Class whose methods ``names`` are; None for the file's own functions.

    Raises:
        FileNotFoundError: fairseq's sources are not there.
    """
    root = fairseq_root()
    if root is None:
        raise FileNotFoundError(f"{FAIRSEQ_SOURCES}/fairseq-*: run `make bench`")
    path = root / "fairseq" / file
    body = ast.parse(path.read_text(encoding="utf-8")).body
    if owner is not None:
        classes = [n for n in body if isinstance(n, ast.ClassDef)]
        body = next(n for n in classes if n.name == owner).body
    wanted: list[ast.stmt] = [
        n for n in body if isinstance(n, ast.FunctionDef) and n.name in names
    ]
    scope: dict[str, Any] = {"np": np, "torch": torch, "F": torch.nn.functional}
    if owner is not None:  # what the methods call
        helpers = fairseq("utils.py", "buffered_arange", "index_put", "is_xla_tensor")
        scope |= vars(helpers)
    exec(compile(ast.Module(wanted, []), str(path), "exec"), scope)
    return types.SimpleNamespace(**{name: scope[name] for name in names})
