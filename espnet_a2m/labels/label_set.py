"""Labels a set with a fitted k-means, and says what the labels are like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import write_atomic
from espnet_a2m.data.archives import read_array
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.chunked_table import put_together, write_chunked_table
from espnet_a2m.data.chunks import WHOLE, Share, read_durations
from espnet_a2m.data.tables import iter_scp, outer_join
from espnet_a2m.labels.features import Features, frames_of
from espnet_a2m.labels.kmeans import KMeans, assign


def made_by(kmeans: KMeans) -> dict[str, Any]:
    """What tells one k-means' labels from another's."""
    return {
        "kmeans": json.loads(kmeans.settings),
        "centroids": hashlib.sha256(kmeans.centroids.tobytes()).hexdigest(),
    }


def label_share(
    data: Path,
    output: Path,
    kmeans: KMeans,
    features: Features,
    device: str = "cpu",
    share: Share = WHOLE,
) -> int:
    """Write ``labels.scp``, ``grid.json`` and ``utt2inertia`` of a set.

    The labels of an utterance are an int32 vector (T,), in classes from 0;
    ``utt2inertia`` has the mean squared distance of its frames to their centroids.
    A second call only does what is missing. One of several jobs leaves the tables to
    `put_labels_together`.

    Args:
        data: Formatted data directory.
        output: Where the labels go.
        kmeans: Gives the classes.
        features: What it was fitted on.
        device: Where the features are.
        share: What of the set is labelled.

    Returns:
        How many frames this call has labelled.

    Raises:
        DataError: An utterance cannot be labelled.
    """
    centroids = torch.from_numpy(kmeans.centroids).to(device)
    labelled = 0

    def make_chunk(
        audio: dict[str, str], report: Callable[[float], object]
    ) -> dict[str, tuple[np.ndarray, float]]:
        nonlocal labelled
        made = {}
        for utt_id, source in audio.items():
            speech = read_audio(utt_id, source, features.grid.fs)
            frames = frames_of(features, utt_id, source, speech)
            classes, distances = assign(frames, centroids)
            made[utt_id] = classes.int().cpu().numpy(), float(distances.mean())
            labelled += len(frames)
            report(len(speech) / features.grid.fs)
        return made

    write_chunked_table(
        data / "wav.scp",
        output,
        "labels",
        "inertia",
        make_chunk,
        made_by(kmeans),
        features.grid,
        read_durations(data, features.grid.fs),
        share=share,
    )
    return labelled


def put_labels_together(
    data: Path, output: Path, kmeans: KMeans, jobs: int, command: Callable[[int], str]
) -> None:
    """Write the tables of what `label_share` made in jobs; see `put_together`."""
    tables = (data / "wav.scp", output, "labels", "inertia")
    put_together(*tables, made_by(kmeans), jobs, command)


def summarise_labels(
    output: Path, kmeans: KMeans, features: Features
) -> dict[str, Any]:
    """Write ``labels.json``: what the labels of a set are like, and what made them."""
    frame_seconds = features.grid.stride / features.grid.fs
    summary = summarise(output, len(kmeans.centroids), frame_seconds)
    summary |= made_by(kmeans)
    write_atomic(output / "labels.json", json.dumps(summary, indent=2) + "\n")
    return summary


def summarise(output: Path, num_classes: int, frame_seconds: float) -> dict[str, Any]:
    """Statistics of the labels in a directory, read utterance by utterance.

    Args:
        output: Has ``labels.scp`` and ``utt2inertia``.
        num_classes: Clusters of the k-means.
        frame_seconds: Distance between frames.

    Raises:
        DataError: What is there are no labels.
    """
    counts = np.zeros(num_classes, np.int64)
    runs, inertia, utterances = 0, 0.0, 0
    tables = [iter_scp(output / "labels.scp"), iter_scp(output / "utt2inertia")]
    for utt_id, (source, of_utt) in outer_join(tables):
        try:
            if source is None or of_utt is None:
                raise ValueError("not in both tables")
            labels = read_array(source)
            if labels.dtype != np.int32 or not len(labels) or labels.ndim != 1:
                raise ValueError("no vector of whole numbers")
            if labels.max() >= num_classes:
                raise ValueError(f"a label of {labels.max()}")
            counts += np.bincount(labels, minlength=num_classes)
            inertia += float(of_utt) * len(labels)
        except DataError:
            raise
        except ValueError as e:
            raise DataError(
                f"{output}: the labels of {utt_id} are damaged ({e}); remove the "
                "directory and run stage 9 again"
            ) from None
        utterances += 1
        runs += 1 + int((labels[1:] != labels[:-1]).sum())
    num_frames = int(counts.sum())
    used = counts[counts > 0] / num_frames
    return {
        "num_classes": num_classes,
        "num_utterances": utterances,
        "num_frames": num_frames,
        "classes_in_use": len(used),
        "empty_share": 1 - len(used) / num_classes,
        "perplexity": float(np.exp(-(used * np.log(used)).sum())),
        "mean_run_ms": 1000 * frame_seconds * num_frames / runs,
        "inertia_per_frame": inertia / num_frames,
    }
