"""Kaldi tables: "<key> <value>" lines, UTF-8, sorted bytewise by key."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from espnet_a2m.core.errors import DataError, Preview
from espnet_a2m.core.files import PathLike, atomic_writer, with_filename

MAX_KEY_BYTES = 200  # a key becomes a file name ("<key>.flac"); most systems allow 255
#: What check_key has nothing to say about, found quickly
_PLAIN_KEY = re.compile(rf"[!-.0-~]{{1,{MAX_KEY_BYTES}}}")
T = TypeVar("T")


def check_key(key: str, where: str) -> None:
    """Raise DataError for a key that is more than a word, or cannot be a file name."""
    bad = [c for c in key if c.isspace() or unicodedata.category(c)[0] == "C"]
    if "/" in key:
        problem = "contains '/'; keys become file names, replace '/' by '-' or '_'"
    elif bad:
        problem = f"contains {bad[0]!r} (white space or a control character); remove it"
    elif len(key.encode()) > MAX_KEY_BYTES:
        problem = f"is longer than {MAX_KEY_BYTES} bytes; shorten it"
    else:
        return
    shown = repr(key) if len(key) < 50 else f"{key[:40]!r}..."
    raise DataError(
        f"{where}: the key {shown} {problem} in every file of the directory"
    )


def iter_scp(path: PathLike, allow_empty: bool = False) -> Iterator[tuple[str, str]]:
    """The (key, value) pairs of a table, in its order, one line in memory at a time.

    With `allow_empty`, keys without a value get "". Raises DataError when the iteration
    comes to what is not UTF-8, sorted bytewise, unique and well-formed.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; is the stage that makes it done?")
    previous = ""
    with path.open("rb") as lines:
        for number, content in enumerate(lines, 1):
            try:
                line = content.decode()
            except UnicodeDecodeError:
                raise DataError(
                    f"{path}:{number}: not UTF-8; convert the file: "
                    f"`iconv -f <its encoding> -t UTF-8 {path}`"
                ) from None
            # Keys end at the first blank or tab only: other white space in a key is
            # an error that str.split() would hide.
            stripped = line.rstrip()
            key = stripped.partition(" ")[0].partition("\t")[0]
            value = stripped[len(key) :].strip()
            # UTF-8's order of bytes is that of str's characters
            if (
                not (_PLAIN_KEY.fullmatch(key) and key > previous)
                or not (value or allow_empty)
                or "\0" in line
                or "\r" in stripped
            ):
                where = f"{path}:{number}"
                _check_line(where, line, key, value, previous, allow_empty)
            previous = key
            yield key, value
    if not previous:
        raise DataError(f"{path}: the file is empty; make it again or remove it")


def _check_line(
    where: str, line: str, key: str, value: str, previous: str, allow_empty: bool
) -> None:
    """Raise DataError for what is wrong with a line, if anything is."""
    path = where.rpartition(":")[0]
    if "\0" not in line:
        check_key(key, where)
    if "\0" in line or "\r" in line.rstrip():
        problem = "a NUL byte or a carriage return: not a text file; make it again"
    elif not line.strip():
        problem = "an empty line; remove it"
    elif line[0] in " \t":
        problem = "the line starts with a blank; remove it"
    elif key == previous:
        problem = f"the key {key!r} is there twice; keep one line"
    elif not value and not allow_empty:
        problem = (
            f"nothing follows the key {key!r}; complete the line or, if it is an empty "
            "transcript, remove the utterance from every file of the directory"
        )
    elif key < previous:
        fix = f"sort it: `LC_ALL=C sort -k1,1 -o {path} {path}`"
        problem = f"{key!r} comes after {previous!r}: not sorted bytewise; {fix}"
    else:
        return
    raise DataError(f"{where}: {problem}")


def read_scp(path: PathLike, allow_empty: bool = False) -> dict[str, str]:
    """Read a table "<key> <value>" (wav.scp, text, utt2spk, ...) as `iter_scp` does."""
    return dict(iter_scp(path, allow_empty))


class Keys(Collection[str]):
    """The keys of a table, read from its file whenever they are asked for."""

    def __init__(self, path: PathLike) -> None:
        self.path = path

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in iter_scp(self.path))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return any(key == other for other in self)


def outer_join(
    tables: Sequence[Iterable[tuple[str, T]]],
) -> Iterator[tuple[str, list[T | None]]]:
    """Walk through sorted tables side by side: each key with its values or None."""
    walks = [iter(table) for table in tables]
    heads = [next(walk, None) for walk in walks]
    while there := [head[0] for head in heads if head is not None]:
        key = min(there)
        row: list[T | None] = []
        for i, head in enumerate(heads):
            if head is not None and head[0] == key:
                row.append(head[1])
                heads[i] = next(walks[i], None)
            else:
                row.append(None)
        yield key, row


def join_utterances(
    tables: Sequence[tuple[PathLike, Iterable[tuple[str, T]]]],
    fix: str,
    same: bool = False,
) -> Iterator[tuple[str, list[T]]]:
    """Walk through tables side by side: each utterance with the values of all tables.

    Args:
        tables: File name and (utterance, value) pairs of each, sorted bytewise.
        fix: What to do about missing utterances, a DataError when all tables are read.
        same: All tables must have the same utterances; without it, all those of the
            first one. Others are left out.
    """
    complete, others = 0, [0] * len(tables)
    missing: dict[tuple[int, int], Preview] = {}  # (where, where they are) -> utts
    for utt_id, row in outer_join([pairs for _, pairs in tables]):
        if None not in row:
            complete += 1
            yield utt_id, row  # type: ignore[misc]  # mypy does not see the test
            continue
        for number, value in enumerate(row):
            others[number] += value is not None
            if row[0] is not None and value is None:
                missing.setdefault((number, 0), Preview()).add(utt_id)
            elif row[0] is None and value is not None and same:
                missing.setdefault((0, number), Preview()).add(utt_id)
    for (number, reference), utts in missing.items():
        raise DataError(
            f"{tables[number][0]}: {utts.count} of {complete + others[reference]} "
            f"utterances of {tables[reference][0]} are missing: {utts}; {fix}"
        )


def is_command(value: str) -> bool:
    """Is an entry of wav.scp, or a file name, what Kaldi would run as a command?"""
    return value.strip().startswith("|") or value.strip().endswith("|")


def iter_counts(path: PathLike) -> Iterator[tuple[str, int]]:
    """Read a table of integers, as ``utt2num_samples``. Raises DataError."""
    return ((key, to_count(value, path, key)) for key, value in iter_scp(path))


def to_count(value: str, path: PathLike, key: str) -> int:
    """An integer of a table. Raises DataError where it is none."""
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise DataError(
            f"{path}: {key}: {value[:40]!r} is no number of samples; make the file "
            "again (bin.data format_wav)"
        )
    return int(value)


def sort_keys(keys: Iterable[str]) -> list[str]:
    """Keys in the order of `LC_ALL=C sort`."""
    return sorted(keys, key=str.encode)


def write_lines(
    stream: BinaryIO, path: PathLike, pairs: Iterable[tuple[str, object]]
) -> None:
    """Write "<key> <value>" lines to a stream that becomes the file `path`."""
    with with_filename(path):
        stream.writelines(
            f"{k} {value}".rstrip().encode() + b"\n" for k, value in pairs
        )


def write_table(path: PathLike, table: Mapping[str, object]) -> None:
    """Write "<key> <value>" lines sorted bytewise by key, atomically."""
    with atomic_writer(path) as stream:
        write_lines(stream, path, ((key, table[key]) for key in sort_keys(table)))
