"""ESPnet models by the name that a hub knows them by."""

from __future__ import annotations

import re
from pathlib import Path

from espnet_a2m.compat.packed import unpack
from espnet_a2m.core.errors import UserError


def is_name(model_file: str) -> bool:
    """Whether ``user/model`` or a URL, not a file, is meant."""
    if re.match(r"https?://", model_file):
        return True
    is_file = Path(model_file).exists() or model_file.endswith((".pth", ".pt", ".zip"))
    return not is_file and re.fullmatch(r"[\w.-]+/[\w.@-]+", model_file) is not None


def download(name: str) -> Path:
    """Fetch a model into the cache of espnet_model_zoo, or find it there.

    Args:
        name: Of espnet_model_zoo's table, of a repository on Hugging Face, or a URL.

    Returns:
        The folder of the packed model.

    Raises:
        UserError: The package is not installed, or the model cannot be fetched.
    """
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ModuleNotFoundError as e:
        raise UserError(
            f"{name}: no such file. To fetch the model of this name from a hub: "
            f"pip install espnet_a2m[zoo] ({e})"
        ) from e
    try:
        downloader = ModelDownloader()
        # never its own unpacking, which lets a member of an archive leave the folder
        if "huggingface.co" in downloader.get_url(name=name):
            repository = name.removeprefix("https://huggingface.co/")
            return Path(downloader.huggingface_download(name=repository))
        archive = Path(downloader.download(name=name))
    except Exception as e:  # of several network libraries
        raise UserError(
            f"{name}: no such file, and no such model could be fetched: {e}"
        ) from e
    return unpack(archive)
