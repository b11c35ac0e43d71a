"""Entries of Kaldi archives, "<file>:<offset>", with nothing in them taken on trust.

kaldiio knows the formats, but it runs an entry whose file ends in "|" as a command,
unpickles what is marked as a pickle and believes a header's sizes. Here a file is only
ever opened, and a header must agree with the file's size before kaldiio reads on.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import kaldiio.matio
import numpy as np

from espnet_a2m.core.errors import DataError
from espnet_a2m.data.tables import is_command

HEAD_BYTES = 64  # more than the longest header below
#: Bytes of a value, of vectors and matrices of floats
VALUE_BYTES = {b"FV": 4, b"DV": 8, b"FM": 4, b"DM": 8}
#: The same of compressed matrices, and bytes of a column's header
COMPRESSED = {b"CM": (1, 8), b"CM2": (2, 0), b"CM3": (1, 0)}


def parse_entry(source: str) -> tuple[str, int]:
    """File and offset in bytes of "<file>:<offset>", or of "<file>" alone."""
    path, _, offset = source.rpartition(":")
    if path and offset.isascii() and offset.isdigit() and len(offset) < 19:
        return path, int(offset)
    return source, 0


def is_archive_entry(source: str) -> bool:
    """Does `source` name a place in a file, rather than a file?"""
    return parse_entry(source)[0] != source and not os.path.exists(source)


def open_regular(path: str) -> BinaryIO:
    """Open a file. Raises DataError for a command, a device, a FIFO or no file."""
    if is_command(path):
        raise DataError(
            f"{path}: a command (a pipe), which is not run here: nothing but files is "
            "read. Write its output to a file and name that"
        )
    try:
        # not to wait for the other end, where it is a FIFO
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be opened ({reason})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path}: is not a regular file")
    return os.fdopen(descriptor, "rb")


def entry_bytes(head: bytes) -> int:
    """Length of an entry by its first bytes. Raises ValueError: no array, no audio."""
    if head[:5] == b"AUDIO":
        width = head[5]
        return 6 + width + int.from_bytes(head[6 : 6 + width], "little")
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:2] != b"\0B":
        raise ValueError("neither a binary array nor audio")
    if head[2:3] == b"\4":
        return 7 + 5 * _positive(head[3:7])
    kind = head[2:].partition(b" ")[0]
    start = 3 + len(kind)
    if kind in COMPRESSED:
        rows, columns = _positive(head[start + 8 :]), _positive(head[start + 12 :])
        value, column = COMPRESSED[kind]
        return start + 16 + columns * (column + rows * value)
    if kind not in VALUE_BYTES:
        raise ValueError(f"an array of unknown kind {kind[:8]!r}")
    size = 1
    for _ in range(kind.endswith(b"M") + 1):
        size *= _positive(head[start + 1 :])
        start += 5
    return start + size * VALUE_BYTES[kind]


def _positive(field: bytes) -> int:
    (number,) = struct.unpack("<i", field[:4])
    if number < 0:
        raise ValueError(f"a size of {number}")
    return number


def entry_end(file: BinaryIO, source: str, size: int | None = None) -> int:
    """Where the entry ``source`` ends in its open ``file`` of ``size`` bytes.

    Raises DataError for what is no array or audio, or is cut off.
    """
    offset = parse_entry(source)[1]
    if size is None:
        size = os.fstat(file.fileno()).st_size
    try:
        end = offset + entry_bytes(os.pread(file.fileno(), HEAD_BYTES, offset))
    except (struct.error, IndexError):
        end = size + 1  # not even the header is there
    except ValueError as error:
        raise DataError(f"{source}: {error}") from None
    if end > size:
        raise DataError(f"{source}: cut off: the file has {size} bytes")
    return end


def checked_entries(table: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Pass on (utterance, entry), refusing what kaldiio, and so ESPnet, may not get.

    That is a command, a pickle, what is cut off or missing. A file is opened once for
    entries that follow each other; of each entry the first bytes are read.
    """
    with contextlib.ExitStack() as stack:
        opened, size = None, 0
        for utt_id, source in table:
            path = parse_entry(source)[0]
            if "[" in source:  # kaldiio would read the rest of the name as rows
                raise DataError(f"{source}: a name with '[' cannot be told from rows")
            if path != opened:
                stack.close()
                file, opened = stack.enter_context(open_regular(path)), path
                size = os.fstat(file.fileno()).st_size
            entry_end(file, source, size)
            yield utt_id, source


def read_bytes(source: str) -> bytes:
    """An entry as it lies in its file. Raises DataError where it is not complete."""
    path, offset = parse_entry(source)
    with open_regular(path) as file:
        end = entry_end(file, source)
        file.seek(offset)
        return file.read(end - offset)


def read_array(source: str) -> np.ndarray:
    """The vector or matrix of an entry. Raises DataError where it is none."""
    content = read_bytes(source)
    if content[:2] != b"\0B":
        raise DataError(f"{source}: not a binary array")
    try:
        with np.errstate(all="ignore"):  # of a damaged header; callers check values
            return kaldiio.matio.read_kaldi(io.BytesIO(content))
    except (ValueError, AssertionError, struct.error) as error:
        raise DataError(f"{source}: a damaged array ({error})") from None


def read_audio_bytes(source: str) -> bytes:
    """The audio file that an entry holds. Raises DataError where it holds none."""
    content = read_bytes(source)
    if content[:5] == b"AUDIO":
        return content[6 + content[5] :]
    if content[:4] == b"RIFF":
        return content
    raise DataError(f"{source}: not audio")
