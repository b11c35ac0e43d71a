"""Label a set with a fitted k-means; statistics of the labels."""

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
from espnet_a2m.data import shards
from espnet_a2m.data.archives import read_array
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.tables import iter_scp, join_utterances
from espnet_a2m.labels.features import Features, frames_of
from espnet_a2m.labels.kmeans import KMeans, assign


def metadata(kmeans: KMeans) -> dict[str, Any]:
    """What tells one k-means' labels from another's."""
    return {
        "kmeans": json.loads(kmeans.settings),
        "centroids": hashlib.sha256(kmeans.centroids.tobytes()).hexdigest(),
    }


def label_shard(
    data: Path,
    output: Path,
    kmeans: KMeans,
    features: Features,
    device: str = "cpu",
    shard: shards.Shard = shards.ONE_SHARD,
) -> int:
    """Write ``labels.scp``, ``grid.json`` and ``utt2inertia`` of a set.

    The labels of an utterance are an int32 vector (T,), in classes from 0;
    ``utt2inertia`` has the mean squared distance of its frames to their centroids.
    A second call only does what is missing. One of several shards leaves the tables to
    `ShardedSet.merge_shards`.

    Args:
        data: Formatted data directory.
        output: Where the labels go.
        kmeans: Gives the classes.
        features: What it was fitted on.
        device: Where the features are.
        shard: What of the set is labelled.

    Returns how many frames this call has labelled. Raises DataError where an utterance
    cannot be labelled.
    """
    centroids = torch.from_numpy(kmeans.centroids).to(device)
    fs = features.grid.fs
    labelled = 0

    def write_chunk(
        chunk: shards.Chunk, stem: Path, report: Callable[[float], object]
    ) -> None:
        nonlocal labelled
        arrays = {}
        for utt_id, source in chunk.audio.items():
            speech = read_audio(utt_id, source, fs)
            frames = frames_of(features, utt_id, source, speech)
            classes, distances = assign(frames, centroids)
            arrays[utt_id] = classes.int().cpu().numpy(), float(distances.mean())
            labelled += len(frames)
            report(len(speech) / fs)
        shards.write_arrays(stem, arrays)

    described = {**metadata(kmeans), "grid": vars(features.grid)}
    labels = shards.ShardedSet(data, output, shards.LABELS, described)
    labels.write_shard(write_chunk, shard, fs)
    return labelled


def summarise_labels(
    output: Path, kmeans: KMeans, features: Features
) -> dict[str, Any]:
    """Write ``labels.json``: statistics of the labels of a set, and its metadata."""
    frame_seconds = features.grid.stride / features.grid.fs
    summary = summarise(output, len(kmeans.centroids), frame_seconds) | metadata(kmeans)
    write_atomic(output / "labels.json", json.dumps(summary, indent=2) + "\n")
    return summary


def summarise(output: Path, num_classes: int, frame_seconds: float) -> dict[str, Any]:
    """Statistics of the labels in a directory, read utterance by utterance.

    It has ``labels.scp`` and ``utt2inertia``. Raises DataError: what is there are no
    labels in ``num_classes`` classes.
    """
    counts = np.zeros(num_classes, np.int64)
    runs, inertia, utterances = 0, 0.0, 0
    fix = "remove the directory and run bin.labels again"
    paths = (output / name for name in shards.LABELS.values())
    tables = [(path, iter_scp(path)) for path in paths]
    for utt_id, (of_utt, source) in join_utterances(tables, fix, same=True):
        try:
            labels = read_array(source)
            if labels.dtype != np.int32 or not len(labels) or labels.ndim != 1:
                raise ValueError("no vector of integers")
            if labels.max() >= num_classes:
                raise ValueError(f"a label of {labels.max()}")
            counts += np.bincount(labels, minlength=num_classes)
            inertia += float(of_utt) * len(labels)
        except ValueError as e:
            raise DataError(
                f"{output}: the labels of {utt_id} are damaged ({e}); {fix}"
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
