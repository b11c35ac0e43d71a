"""Fit a k-means to a corpus of any size; resumes after an interruption.

scikit-learn's mini-batch k-means (k-means++, several starts) on a bounded random
sample of frames gives the first centroids. Then each pass over the audio assigns
every frame and moves each centroid to the mean of its frames: Lloyd's algorithm on
all of them. A pass keeps sums only, so memory does not grow with the corpus, and
the sums up to an utterance are all there is to resume from.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from espnet_a2m.core.errors import DataError, UserError
from espnet_a2m.core.files import PathLike, file_digest
from espnet_a2m.data.tables import Keys, iter_scp
from espnet_a2m.labels.features import Features, read_frames
from espnet_a2m.labels.kmeans import KMeans, assign, load_arrays, save_arrays

#: Frames of the sample: per cluster, and at least per utterance
SAMPLE_PER_CLUSTER, SAMPLE_PER_UTTERANCE = 256, 50
#: Starts, and frames in a batch, of the mini-batch k-means on the sample
NUM_STARTS, BATCH_FRAMES = 5, 10_000
#: Relative gain of inertia for which another pass is not worth its time
TOLERANCE = 1e-3
#: Utterances between two saved states
SAVE_UTTERANCES = 200


@dataclass
class Pass:
    """A pass of Lloyd's algorithm, between two utterances."""

    centroids: torch.Tensor  # (K, F) float32
    history: list[float]  # mean squared distance of a frame in each earlier pass
    sums: torch.Tensor  # (K, F) float64, of the frames assigned to each so far
    counts: torch.Tensor  # (K,) int64, their numbers
    inertia: torch.Tensor  # () float64, sum of their squared distances
    position: int = 0  # utterances done

    @classmethod
    def begin(cls, centroids: torch.Tensor, history: list[float]) -> Pass:
        """A pass in which nothing is done yet."""
        sums = torch.zeros_like(centroids, dtype=torch.float64)
        counts = torch.zeros_like(centroids[:, 0], dtype=torch.int64)
        return cls(centroids, history, sums, counts, sums.new_zeros(()))

    def add(self, frames: torch.Tensor) -> None:
        """Sum up the frames (T, F) of the next utterance."""
        classes, distances = assign(frames, self.centroids)
        self.sums.index_add_(0, classes, frames.double())
        self.counts += torch.bincount(classes, minlength=len(self.counts))
        self.inertia += distances.double().sum()
        self.position += 1

    def end(self) -> Pass:
        """The next pass: centroids at the means; one without frames stays."""
        means = (self.sums / self.counts.clamp(min=1)[:, None]).float()
        centroids = torch.where(self.counts[:, None] > 0, means, self.centroids)
        inertia = float(self.inertia / self.counts.sum())
        return Pass.begin(centroids, [*self.history, inertia])

    def save(self, path: Path, settings: str) -> None:
        """Write as npz, atomically."""
        saved = vars(self).items()
        arrays = {k: v.cpu() if torch.is_tensor(v) else v for k, v in saved}
        save_arrays(path, {**arrays, "settings": settings})

    @classmethod
    def load(cls, path: Path, settings: str, device: str) -> Pass | None:
        """What :meth:`save` wrote, or None where there is none by these settings.

        Raises UserError: the file is of another kind or release.
        """
        arrays = load_arrays(path) if path.exists() else {}
        if str(arrays.pop("settings", "")) != settings:
            return None
        history, position = arrays.pop("history").tolist(), int(arrays.pop("position"))
        tensors = {k: torch.from_numpy(v).to(device) for k, v in arrays.items()}
        return cls(history=history, position=position, **tensors)


def sample_frames(
    wav_scp: PathLike,
    chosen: np.ndarray,
    features: Features,
    num_clusters: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Random frames (S, F) of random utterances, S about 256 per cluster at most.

    Raises DataError: there are fewer frames than clusters.
    """
    wanted = num_clusters * SAMPLE_PER_CLUSTER
    order = rng.permutation(np.flatnonzero(chosen))
    share = max(SAMPLE_PER_UTTERANCE, math.ceil(wanted / len(order)))
    # as many utterances as would do, if all were long enough, then as many again
    block = math.ceil(wanted / share)
    sample, size = [], 0
    with tqdm(desc="k-means: sample", total=wanted, unit="frames") as bar:
        for begin in range(0, len(order), block):
            lines = order[begin : begin + block].tolist()
            needed = set(lines)
            table = enumerate(iter_scp(wav_scp))
            entries = {line: entry for line, entry in table if line in needed}
            for line in lines:
                frames = read_frames(features, *entries[line]).cpu()
                taken = rng.permutation(len(frames))[: min(share, wanted - size)]
                sample.append(frames.numpy()[taken])
                size += len(taken)
                bar.update(len(taken))
                if size == wanted:
                    return np.concatenate(sample)
    if size < num_clusters:
        raise DataError(
            f"{size} frames in {len(order)} utterances are fewer than {num_clusters} "
            "clusters: take fewer clusters (--num_clusters), more audio, or a larger "
            "share of it (--fit_hours)"
        )
    return np.concatenate(sample)


def first_centroids(sample: np.ndarray, num_clusters: int, seed: int) -> np.ndarray:
    """Centroids (K, F) of a sample (S, F), the best of several starts."""
    kmeans = MiniBatchKMeans(
        num_clusters, n_init=NUM_STARTS, batch_size=BATCH_FRAMES, random_state=seed
    )
    with threadpool_limits(1):  # sums of threads come in any order
        return kmeans.fit(sample).cluster_centers_.astype(np.float32)


def fit(
    wav_scp: PathLike,
    path: Path,
    features: Features,
    num_clusters: int,
    seed: int = 0,
    fraction: float = 1.0,
    max_passes: int = 10,
    device: str = "cpu",
) -> KMeans:
    """Fit a k-means on a set, or take the one that an earlier call has fitted.

    The same arguments give the same centroids, interrupted or not (on the same
    machine and number of threads; on a GPU up to rounding).

    Args:
        wav_scp: Formatted audio of the set.
        path: ``<name>.npz`` to write; ``<name>.partial.npz`` is an unfinished fit.
        features: What is clustered.
        num_clusters: K.
        seed: Of the utterances, the sample and the starts.
        fraction: Share of the utterances to fit on, drawn at random.
        max_passes: Passes over them at most; fewer when the inertia does not fall.
        device: Where the features are, ``cpu`` or ``cuda``.

    Raises:
        UserError: An utterance has no usable features, there are too few of them, the
            file is not of this release, or an option is out of range.
    """
    if num_clusters < 1 or max_passes < 1 or not 0 < fraction <= 1:
        raise UserError(
            f"num_clusters={num_clusters}, max_passes={max_passes} must be positive "
            f"and fraction={fraction} in (0, 1]"
        )
    described = {
        "features": features.description,
        "num_clusters": num_clusters,
        "seed": seed,
        "fraction": fraction,
        "max_passes": max_passes,
        "wav_scp": file_digest(wav_scp),
    }
    settings = json.dumps(described, sort_keys=True)
    partial = path.with_suffix(".partial.npz")
    if path.exists() and (kmeans := KMeans.load(path)).settings == settings:
        partial.unlink(missing_ok=True)
        return kmeans

    total = len(Keys(wav_scp))
    rng = np.random.default_rng(seed)
    count = math.ceil(fraction * total)
    # in the table's order: neighbours in an archive are read one after the other
    chosen = np.zeros(total, dtype=bool)
    chosen[rng.permutation(total)[:count]] = True

    state = Pass.load(partial, settings, device)
    if state is None:
        sample = sample_frames(wav_scp, chosen, features, num_clusters, rng)
        centroids = first_centroids(sample, num_clusters, seed)
        state = Pass.begin(torch.from_numpy(centroids).to(device), [])
        state.save(partial, settings)

    while True:
        number, done = len(state.history) + 1, state.position
        title = f"k-means: pass {number} of at most {max_passes}"
        entries = itertools.compress(iter_scp(wav_scp), chosen)
        rest = itertools.islice(entries, done, None)
        for entry in tqdm(rest, title, initial=done, total=count, unit="utt"):
            state.add(read_frames(features, *entry))
            if state.position % SAVE_UTTERANCES == 0:
                state.save(partial, settings)
        after = state.end()
        before, inertia = [math.inf, *after.history][-2:]
        if number == max_passes or inertia > (1 - TOLERANCE) * before:
            break
        state = after
        state.save(partial, settings)

    kmeans = KMeans(
        centroids=after.centroids.cpu().numpy(),
        counts=state.counts.cpu().numpy(),
        inertia=np.array(after.history),
        settings=settings,
    )
    kmeans.save(path)
    partial.unlink()
    if empty := int((kmeans.counts == 0).sum()):
        logging.warning(
            f"{path}: {empty} of {num_clusters} clusters have no frame: take fewer "
            "clusters (--num_clusters) or more audio (--fit_hours)"
        )
    return kmeans
