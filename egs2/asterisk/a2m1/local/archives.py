"""Unpack the archives the sounds come in: .deb packages and .tar.gz files."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from espnet_a2m.core.errors import DataError


def unpack(archive: Path, into: Path) -> Path:
    """Unpack an archive, or raise DataError, to a folder of its name in `into`."""
    name = archive.name.removesuffix(".deb").removesuffix(".tar.gz")
    target = into / name
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack.", dir=into) as folder:
        content = Path(folder, "content")
        content.mkdir()
        try:
            if archive.suffix != ".deb":
                extract_tar(archive.read_bytes(), content)
            elif shutil.which("dpkg-deb"):
                command = ["dpkg-deb", "-x", str(archive), str(content)]
                result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    raise ValueError(result.stderr.strip())
            else:
                extract_tar(deb_data(archive.read_bytes()), content)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise DataError(
                f"{archive}: cannot be unpacked ({error}); remove it and run again"
            ) from None
        os.replace(content, target)
    return target


def deb_data(content: bytes) -> bytes:
    """The data.tar.* member of a .deb, an `ar` archive. Raises ValueError."""
    if not content.startswith(b"!<arch>\n"):
        raise ValueError("not a .deb file")
    position = 8
    while position + 60 <= len(content):
        header = content[position : position + 60]
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size = int(header[48:58])
        data = content[position + 60 : position + 60 + size]
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise ValueError("zstd-compressed: install dpkg to unpack it")
            if len(data) < size:
                raise ValueError("truncated")
            return data
        position += 60 + size + size % 2
    raise ValueError("no data in it")


def extract_tar(content: bytes, target: Path) -> None:
    """Extract the regular files of a tar archive, none of them outside `target`."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if member.isfile() and not path.is_absolute() and ".." not in path.parts:
                archive.extract(member, target)
