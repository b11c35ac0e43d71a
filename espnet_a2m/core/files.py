"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]


def file_digest(path: PathLike) -> str:
    """SHA-256 of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 16):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def with_filename(path: object) -> Iterator[None]:
    """Have an error of the operating system name the file that was written to.

    It names a file that cannot be opened, but not the one for which a disk is too full.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def atomic_writer(path: PathLike) -> Iterator[BinaryIO]:
    """Write a whole file under a temporary name beside it, then rename it.

    It is on the disk before it has its name, so that after a power failure, too, it is
    whole or what it was. When the block ends with an error, it is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    stream = os.fdopen(descriptor, "wb")
    try:
        yield stream
        with with_filename(path):
            stream.flush()
            os.fsync(descriptor)
            stream.close()
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes it private
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):  # of what is still to be written
            stream.close()
        Path(name).unlink(missing_ok=True)
        raise


def write_atomic(path: PathLike, content: str | bytes) -> None:
    """Write a whole file as `atomic_writer` does."""
    with atomic_writer(path) as stream, with_filename(path):
        stream.write(content.encode() if isinstance(content, str) else content)
