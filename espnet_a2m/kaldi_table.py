"""Kaldi tables: "<key> <value>" lines, UTF-8, sorted bytewise by key."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from espnet_a2m.errors import DataError, naming

PathLike = str | os.PathLike[str]

MAX_KEY_BYTES = 200  # a key becomes a file name ("<key>.flac"); most systems allow 255
SORT_FIX = "sort it: `LC_ALL=C sort -k1,1 -o {0} {0}`"


def check_key(key: str, where: str) -> None:
    """Raise DataError for a key that is more than a word, or cannot be a file name."""
    if "/" in key:
        raise DataError(
            f"{where}: the key {key!r} contains '/'; keys become file names, "
            "replace '/' by '-' or '_' in every file of the directory"
        )
    bad = [c for c in key if c.isspace() or unicodedata.category(c)[0] == "C"]
    if bad:
        raise DataError(
            f"{where}: the key {key!r} contains {bad[0]!r} (white space or a control "
            "character); remove it in every file of the directory"
        )
    if len(key.encode()) > MAX_KEY_BYTES:
        raise DataError(
            f"{where}: the key {key[:40]!r}... is longer than {MAX_KEY_BYTES} bytes; "
            "shorten it in every file of the directory"
        )


def read_scp(path: PathLike, allow_empty: bool = False) -> dict[str, str]:
    """Read a table "<key> <value>" (wav.scp, text, utt2spk, ...), keeping its order.

    Args:
        path: the file, UTF-8, sorted bytewise by key.
        allow_empty: accept keys without a value (they get "").

    Raises:
        DataError: the file is missing, empty, not UTF-8, unsorted, or has duplicate,
            malformed or value-less keys.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; is the stage that makes it done?")
    table: dict[str, str] = {}
    previous = b""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        line_number = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}:{line_number}: not UTF-8; convert the file: "
            f"`iconv -f <its encoding> -t UTF-8 {path}`"
        ) from None
    if any("\0" in line for line in lines):
        raise DataError(f"{path}: has NUL bytes: not a text file; make it again")
    if lines[-1] == "":
        lines.pop()
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        # Keys end at the first blank or tab only: other white space in a key is an
        # error that str.split() would hide.
        stripped = line.rstrip()
        if not stripped:
            raise DataError(f"{where}: an empty line; remove it")
        if stripped[0] in " \t":
            raise DataError(f"{where}: the line starts with a blank; remove it")
        key = stripped.replace("\t", " ").partition(" ")[0]
        value = stripped[len(key) :].strip()
        check_key(key, where)
        if key in table:
            raise DataError(f"{where}: the key {key!r} is there twice; keep one line")
        if not value and not allow_empty:
            raise DataError(
                f"{where}: nothing follows the key {key!r}"
                + (
                    " (an empty transcript); remove the utterance from every file of "
                    "the directory, or complete the line"
                    if path.name == "text"
                    else "; complete the line"
                )
            )
        if (encoded := key.encode()) < previous:
            raise DataError(
                f"{where}: {key!r} comes after {previous.decode()!r}: not sorted "
                f"bytewise; {SORT_FIX.format(path)}"
            )
        previous = encoded
        table[key] = value
    if not table:
        raise DataError(f"{path}: the file is empty; make it again or remove it")
    return table


def is_command(value: str) -> bool:
    """Is an entry of wav.scp, or a file name, what Kaldi would run as a command?"""
    return value.strip().startswith("|") or value.strip().endswith("|")


def read_counts(path: PathLike) -> dict[str, int]:
    """Read a table of whole numbers, such as ``utt2num_samples``.

    Raises:
        DataError: As `read_scp`, or a value is not a number of a sensible size.
    """
    table = read_scp(path)
    for key, value in table.items():
        if not (value.isascii() and value.isdigit() and len(value) < 16):
            raise DataError(
                f"{path}: {key}: {value[:40]!r} is no number of samples; make the file "
                "again (stage 3)"
            )
    return {key: int(value) for key, value in table.items()}


def write_atomic(path: PathLike, content: str | bytes) -> None:
    """Write a whole file under a temporary name beside it, then rename it.

    It is on the disk before it has its name, so that after a power failure, too, it is
    whole or what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with naming(path), os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes it private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sort_keys(keys: Iterable[str]) -> list[str]:
    """Keys in the order of `LC_ALL=C sort`."""
    return sorted(keys, key=str.encode)


def write_table(path: PathLike, table: Mapping[str, object]) -> None:
    """Write "<key> <value>" lines sorted bytewise by key, atomically."""
    lines = (f"{key} {table[key]}".rstrip() + "\n" for key in sort_keys(table))
    write_atomic(path, "".join(lines))
