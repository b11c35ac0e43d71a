"""Command lines; each is run as ``python -m espnet_a2m.bin.<name> --help``."""

from __future__ import annotations

import contextlib
import importlib
import io


def import_quietly(name: str) -> None:
    """Import a module without what it prints: ESPnet 202511 tries to download nltk's
    data and reports each failure, which buries what our own commands have to say."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        importlib.import_module(name)
