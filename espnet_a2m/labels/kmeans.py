"""A k-means model: its file, and the nearest centroids of frames."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch

from espnet_a2m.compat.load import RISK
from espnet_a2m.core.errors import UserError
from espnet_a2m.core.files import file_digest, write_atomic
from espnet_a2m.labels.features import Features

#: Of the files below; raised when what they hold changes
FORMAT = 1
#: Frames whose distances to all centroids are in memory at once
BLOCK_FRAMES = 10_000


def assign(
    frames: torch.Tensor, centroids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest of the centroids (K, F) of frames (T, F), on the same device.

    Returns (T,) classes and (T,) squared Euclidean distances to their centroids.
    """
    norms = centroids.square().sum(1)
    classes, distances = [], []
    for block in frames.split(BLOCK_FRAMES):
        nearest = torch.addmm(norms, block, centroids.T, alpha=-2).min(1)
        classes.append(nearest.indices)
        distances.append((nearest.values + block.square().sum(1)).clamp(min=0))
    return torch.cat(classes), torch.cat(distances)


def save_arrays(path: Path, arrays: dict[str, object]) -> None:
    """Write a npz file, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **{"format": FORMAT, **arrays})  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what :func:`save_arrays` wrote; nothing pickled is ever loaded.

    Raises UserError: another kind of file, or of another release.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as e:  # numpy's, zipfile's and zlib's, of which there are many
        raise UserError(f"{path}: not a k-means ({e}); remove it to fit again") from e
    if str(arrays.pop("format", "")) != str(FORMAT):
        raise UserError(
            f"{path}: was written by another release of espnet_a2m; remove it to fit "
            "again"
        )
    return arrays


@dataclass(frozen=True)
class KMeans:
    """A fitted k-means: K clusters of frames with F features."""

    centroids: np.ndarray  # (K, F) float32
    counts: np.ndarray  # (K,) frames of each cluster in the last pass of the fit
    inertia: np.ndarray  # (passes,) mean squared distance of a frame in each pass
    settings: str  # JSON of what it was fitted on and how

    def save(self, path: Path) -> None:
        """Write as npz, atomically."""
        save_arrays(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> KMeans:
        """Read what :meth:`save` wrote. Raises UserError: it is no such file."""
        arrays = load_arrays(path)
        try:
            settings = str(arrays.pop("settings"))
            kmeans = cls(settings=settings, **arrays)
            json.loads(settings)["features"]
            ndims = kmeans.centroids.ndim, kmeans.counts.ndim, kmeans.inertia.ndim
            if ndims != (2, 1, 1) or not np.isfinite(kmeans.centroids).all():
                raise ValueError("its arrays are not those of one")
            return kmeans
        except (KeyError, TypeError, ValueError, RecursionError) as e:
            raise UserError(
                f"{path}: not a k-means ({e}); remove it to fit again"
            ) from e

    @classmethod
    def load_sklearn(
        cls, path: Path, features: Features, trust_checkpoint: bool
    ) -> KMeans:
        """Read a k-means of scikit-learn, as ESPnet's and fairseq's HuBERT recipes
        save it by joblib.

        What it was fitted on is not in the file: it is taken to be ``features``.

        Raises UserError: it is not trusted, no such file, or has another number of
        features.
        """
        if not trust_checkpoint:
            raise UserError(
                f"{path}: not the km.npz of bin.labels. A k-means of scikit-learn is a "
                f"pickle: {RISK}. If you trust the author, give --trust_checkpoint true"
            )
        try:
            fitted = joblib.load(path)
            centroids = np.asarray(fitted.cluster_centers_, dtype=np.float32)
        except Exception as e:  # whatever unpickling meets
            raise UserError(f"{path}: not a k-means of scikit-learn ({e})") from e
        if centroids.ndim != 2 or centroids.shape[1] != features.dim:
            raise UserError(
                f"{path}: its centroids are {centroids.shape}, but a frame has "
                f"{features.dim} features: {features.description}"
            )
        described = {"features": features.description, "sha256": file_digest(path)}
        counts = np.zeros(len(centroids), np.int64)
        return cls(centroids, counts, np.zeros(0), json.dumps(described))

    def check_features(self, features: Features, path: Path) -> None:
        """Refuse features that this k-means was not fitted on.

        Raises UserError: their kind, layer or model differs.
        """
        fitted = json.loads(self.settings)["features"]
        if fitted != features.description:
            raise UserError(
                f"{path}: fitted on {fitted}, not on {features.description}: give "
                "the features it was fitted on, or fit again"
            )
