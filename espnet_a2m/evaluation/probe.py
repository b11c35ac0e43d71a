"""What a linear layer can read off frozen layers of an encoder: a CTC probe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from espnet_a2m.core.errors import DataError
from espnet_a2m.core.files import PathLike
from espnet_a2m.data.audio import read_audio
from espnet_a2m.data.datadir import DataDir
from espnet_a2m.evaluation.wer import percentages, run_jiwer, tokens
from espnet_a2m.labels.features import frames_of
from espnet_a2m.labels.layer import LayerFeatures

#: Frames of a padded batch
BATCH_FRAMES = 4000
LEARNING_RATE = 0.01
BLANK = 0


def read_transcripts(data: PathLike, most: int) -> dict[str, tuple[str, list[str]]]:
    """Utterance -> entry of ``wav.scp`` and characters, of ``most`` drawn at random.

    Raises DataError: it is no formatted data directory with transcripts.
    """
    read = DataDir.load(data, need=["text"])
    if read.segments is not None:
        raise DataError(f"{data}: has segments; format it first (bin.data format_wav)")
    chosen = np.random.default_rng(0).permutation(read.utts)[:most].tolist()
    text = read.tables["text"]
    return {u: (read.wav_scp[u], tokens(text[u], "char")) for u in sorted(chosen)}


def extract(
    features: LayerFeatures,
    layers: Sequence[int],
    sources: Mapping[str, tuple[str, list[str]]],
    title: str,
) -> list[torch.Tensor]:
    """Features (T, L, D) of each utterance."""
    found = []
    for utt, (source, _) in tqdm(sources.items(), desc=title, unit=" utterances"):
        speech = read_audio(utt, source, features.grid.fs)
        frames = frames_of(lambda s: features.of_layers(s, layers), utt, source, speech)
        found.append(frames.unflatten(1, (len(layers), features.dim)))
    return found


def train_probe(
    frames: Sequence[torch.Tensor],
    targets: Sequence[torch.Tensor],
    num_classes: int,
    updates: int,
    seed: int,
    title: str,
) -> tuple[torch.nn.Linear, float]:
    """A linear layer that CTC has trained on features; its loss in the last batches.

    Args:
        frames: (T, D) of each utterance.
        targets: (U,) classes of each, from 1; 0 is the blank.
        num_classes: With the blank.
        updates: Batches, of utterances of about one length in random order.
        seed: Of the parameters and of the order.
        title: Of the progress bar.
    """
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(frames)), key=lambda i: len(frames[i])):
        if (len(batches[-1]) + 1) * len(frames[i]) > BATCH_FRAMES and batches[-1]:
            batches.append([])
        batches[-1].append(i)
    losses = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = torch.nn.Linear(frames[0].size(1), num_classes)
        optimizer = torch.optim.Adam(probe.parameters(), LEARNING_RATE)
        order: list[int] = []
        for _ in tqdm(range(updates), desc=title, unit=" updates"):
            order = order or torch.randperm(len(batches)).tolist()
            batch = batches[order.pop()]
            x = pad_sequence([frames[i] for i in batch])  # (T, B, D)
            loss = torch.nn.functional.ctc_loss(
                probe(x).log_softmax(-1),
                torch.cat([targets[i] for i in batch]),
                torch.tensor([len(frames[i]) for i in batch]),
                torch.tensor([len(targets[i]) for i in batch]),
                blank=BLANK,
                zero_infinity=True,  # of speech too fast for the frame rate
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return probe, float(np.mean(losses[-len(batches) :]))


def probe_layers(
    model_file: PathLike,
    train: PathLike,
    test: PathLike,
    layers: Sequence[int] | None = None,
    updates: int = 1000,
    seed: int = 0,
    max_utterances: int = 2000,
    random_init: bool = False,
) -> dict[str, Any]:
    """Train a probe on each layer, and measure its greedy CER on a test set.

    Features are standardised by the training set's mean and deviation.

    Args:
        model_file: Checkpoint of a pre-training run or of an ASR model.
        train, test: Formatted data directories with transcripts.
        layers: Encoder layers, from 1; all if None.
        updates: Of each probe.
        seed: Of the probe, and of a random model.
        max_utterances: Utterances of each set at most, drawn at random.
        random_init: Probe the model as it was before any training.

    Returns a dictionary in JSON's types; ``layers`` has the ``cer`` of each in percent,
    the training ``loss`` and the ``seconds`` of its probe.
    """
    random_seed = seed if random_init else None
    features = LayerFeatures(Path(model_file), 1, random_seed=random_seed)
    layers = list(layers or range(1, features.num_layers + 1))
    for layer in layers:
        features.check_layer(layer)
    train_set = read_transcripts(train, max_utterances)
    test_set = read_transcripts(test, max_utterances)
    names = sorted({c for _, characters in train_set.values() for c in characters})
    ids = {name: i for i, name in enumerate(names, 1)}
    targets = [torch.tensor([ids[c] for c in chars]) for _, chars in train_set.values()]

    start = time.perf_counter()
    train_frames = extract(features, layers, train_set, f"features of {train}")
    test_frames = extract(features, layers, test_set, f"features of {test}")
    feature_seconds = time.perf_counter() - start
    rows = []
    for i, layer in enumerate(layers):
        start = time.perf_counter()
        stacked = torch.cat([frames[:, i] for frames in train_frames])
        deviation, mean = torch.std_mean(stacked, dim=0)
        seen, heard = (
            [(frames[:, i] - mean) / deviation.clamp(min=1e-5) for frames in of_set]
            for of_set in (train_frames, test_frames)
        )
        title = f"layer {layer}"
        probe, loss = train_probe(seen, targets, len(ids) + 1, updates, seed, title)
        hyps = {}
        for utt, frames in zip(test_set, heard, strict=True):
            best = probe(frames).argmax(-1).tolist()
            hyps[utt] = [names[k - 1] for k, _ in groupby(best) if k != BLANK]
        refs = {utt: characters for utt, (_, characters) in test_set.items()}
        cer = percentages(run_jiwer(refs, hyps)[0])["Err"]
        seconds = time.perf_counter() - start
        rows.append({"layer": layer, "cer": cer, "loss": loss, "seconds": seconds})
    return {
        "model_file": str(model_file),
        "random_init": random_init,
        "train": {"data": str(train), "utterances": len(train_set)},
        "test": {"data": str(test), "utterances": len(test_set)},
        "updates": updates,
        "seed": seed,
        "feature_seconds": feature_seconds,
        "layers": rows,
    }
