"""Errors that a user can fix, and how a command shows them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any


class UserError(ValueError):
    """The user can fix this: the message names the file, the entry and the fix.

    `main_guard` prints it as "ERROR: ..." without a traceback.
    """


class DataError(UserError):
    """A data directory, or audio that it points to, is invalid."""


def main_guard(main: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command's `main`: user errors become "ERROR: ..." and exit status 1.

    These are `UserError` and errors of the operating system (a missing file, a full
    disk). Anything else is a defect and keeps its traceback.
    """

    @functools.wraps(main)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return main(*args, **kwargs)
        except UserError as error:
            message = str(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            message = f"{where}{error.strerror or error}"
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)
        print(f"ERROR: {message}", file=sys.stderr)
        sys.exit(1)

    return guarded


def warn(message: str) -> None:
    """Tell the user what does not stop a command."""
    print(f"WARNING: {message}", file=sys.stderr)


class Preview:
    """Counts names and keeps only the first `keep` of them."""

    def __init__(self, keep: int = 3) -> None:
        self.keep = keep
        self.first: list[str] = []
        self.count = 0

    def add(self, name: str) -> None:
        """Add a name."""
        self.count += 1
        if self.count <= self.keep:
            self.first.append(name)

    def __str__(self) -> str:
        """In words: "a, b, c and 5 more"."""
        rest = self.count - self.keep
        return ", ".join(self.first) + (f" and {rest} more" if rest > 0 else "")


def preview(names: Iterable[str], count: int = 3) -> str:
    """The first `count` of `names` in words: "a, b, c and 5 more"."""
    some = Preview(count)
    for name in names:
        some.add(name)
    return str(some)


def listed(lines: Sequence[str], most: int = 10) -> str:
    """The first ``most`` of ``lines``, each in a line, and how many more there are."""
    rest = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n  ".join([*lines[:most], *rest])
