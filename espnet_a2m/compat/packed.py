"""ASR models that ESPnet has packed: `.zip` archives and folders with a meta.yaml."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from espnet_a2m.core.config import load_config
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import file_digest

META = "meta.yaml"


def cache_dir() -> Path:
    """Where archives are unpacked."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "espnet_a2m" / "packed"


def check_members(archive: Path, members: Collection[zipfile.ZipInfo]) -> None:
    """Refuse an archive with anything but files and folders below its own root.

    Raises:
        UserError: Names the member.
    """
    for member in members:
        name = member.filename
        path = PurePosixPath(name)
        mode = member.external_attr >> 16
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
            problem = "would be written outside of the archive's folder"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "is a link or a special file"
        else:
            continue
        raise UserError(
            f"{archive}: its member {name!r} {problem}: nothing was unpacked; do not "
            "trust this archive"
        )
    if META not in {member.filename for member in members}:
        raise UserError(
            f"{archive}: it has no {META}: pack the model with espnet2.bin.pack"
        )


def unpack(archive: Path) -> Path:
    """Unpack an archive atomically, once for its content.

    Returns:
        The folder.

    Raises:
        UserError: No archive, or one with a member that would leave the folder.
    """
    folder = cache_dir() / file_digest(archive)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="unpacking.", dir=folder.parent))
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            check_members(archive, members)
            needed = sum(member.file_size for member in members)
            if needed > (free := shutil.disk_usage(temporary).free):
                raise UserError(
                    f"{archive}: it holds {needed / 1e9:.1f} GB, but {folder.parent} "
                    f"has room for {free / 1e9:.1f} GB: set XDG_CACHE_HOME"
                )
            opened.extractall(temporary)
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as e:
        raise UserError(f"{archive}: not a .zip archive that can be read: {e}") from e
    except OSError as e:
        if e.errno != errno.EINVAL:  # else its directory names a place before the file
            raise
        raise UserError(f"{archive}: a damaged .zip archive") from e
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def resolve(value: Any, folder: Path, members: Collection[str]) -> Any:
    """A configuration in which the names of packed files are paths to them.

    Lists are left as they are: they hold tokens, one of which may be called like a
    file.
    """
    if isinstance(value, dict):
        return {key: resolve(item, folder, members) for key, item in value.items()}
    # zip archives drop the first slash of absolute names
    if isinstance(value, str) and (name := value.lstrip("/")) in members:
        return str(folder / name)
    return value


def read_packed(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The parameters' file and the configuration of an unpacked ASR model.

    Raises:
        UserError: ``meta.yaml`` does not name both, or names what is not there.
    """
    meta = load_config(folder / META)
    files = (path for path in folder.rglob("*") if path.is_file())
    members = {path.relative_to(folder).as_posix() for path in files}
    found = []
    for part, key in (("yaml_files", "asr_train_config"), ("files", "asr_model_file")):
        name = str((meta.get(part) or {}).get(key)).lstrip("/")
        if name not in members:
            raise UserError(
                f"{folder / META}: {part} has no {key} that is there: only ASR models "
                "packed by espnet2.bin.pack asr are understood"
            )
        found.append(folder / name)
    config, model_file = found
    return model_file, resolve(load_config(config), folder, members)
