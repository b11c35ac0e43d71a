"""Plots of confidences, masks and training curves. Nothing is computed here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot, no display is needed
from matplotlib.ticker import MaxNLocator

from espnet_a2m.core.files import atomic_writer
from espnet_a2m.core.frames import FrameGrid

#: Panel of training curves -> pattern of the statistics that it shows.
PANELS = {
    "loss": r"loss(?!_scale).*",
    "nats gained over a blind guess": r"nats_gained.*",
    "accuracy": r"acc.*|(majority|chance)_.*",
    "perplexity": r".*perplexity.*",
    "error rate": r"(cer|wer|cer_ctc)",
    "masked fraction": r"masked_(fraction|(least|most)_confident)",
    "confidence": r"(confidence|utterance_weight).*",
    "Gumbel temperature": r"gumbel_temperature",
    "gradient norm": r"grad_norm.*",
    "learning rate": r"optim\d+_lr\d+",
    "seconds of audio per second": r"audio_per_sec.*",
}
LOG_SCALE = ("gradient norm",)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG atomically; returns ``path``."""
    with atomic_writer(path) as stream:
        figure.savefig(stream, format="png", dpi=120)
    return path


def log_mel(speech: np.ndarray, fs: int, hop: int) -> np.ndarray:
    """Return (80, T) log-mel energies in dB; frame i is centred at sample i * hop."""
    import torch
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(fs, n_fft=512, win_length=400, hop_length=hop, n_mels=80)
    decibel = AmplitudeToDB(top_db=80)(mel(torch.from_numpy(speech).float()))
    return (decibel - decibel.max()).numpy()


def spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """Return [begin, end) of the runs of True in a (T,) mask."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(int)))
    return [(int(b), int(e)) for b, e in edges.reshape(-1, 2)]


def draw_utterance(
    path: Path,
    title: str,
    speech: np.ndarray,
    confidence: np.ndarray,
    mask: np.ndarray,
    grid: FrameGrid,
) -> Path:
    """Draw a spectrogram with the masked spans over it and the confidence under it.

    ``speech`` is (N,) samples; ``confidence`` and the boolean ``mask`` are (T,), of
    the frames of ``grid``. Returns ``path``, the PNG.
    """
    seconds, hop = len(speech) / grid.fs, grid.fs // 100
    size = max(6.0, min(18.0, 2.2 * seconds)), 4.8
    figure = Figure(figsize=size, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    mel = log_mel(speech, grid.fs, hop)
    half = hop / 2 / grid.fs
    extent = (-half, (mel.shape[1] - 1) * hop / grid.fs + half, 0, len(mel))
    picture = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -70}
    upper.imshow(mel, extent=extent, **picture)
    upper.set_ylabel("mel filter")
    mean = float(confidence.mean())
    title += f": mean s_t {mean:.3f} (red), {mask.mean():.0%} masked (shaded)"
    upper.set_title(title, fontsize=10, parse_math=False)
    centre = (grid.offset + grid.stride * np.arange(len(confidence))) / grid.fs
    half = grid.stride / 2 / grid.fs
    for first, last in spans(mask):
        left, right = centre[first] - half, centre[last - 1] + half
        for axes, colour in ((upper, "white"), (lower, "tab:blue")):
            axes.axvspan(left, right, color=colour, alpha=0.3, linewidth=0)
    lower.plot(centre, confidence, color="black", linewidth=1.2)
    lower.axhline(mean, color="tab:red", linewidth=0.8)
    lower.set(xlabel="seconds", ylabel="confidence s_t", ylim=(0, 1.05))
    lower.set_xlim(0, seconds)
    return save(figure, path)


def draw_histogram(
    path: Path, by_language: Mapping[str, Sequence[float]], title: str
) -> Path:
    """Draw histograms of utterance confidences, a row per language."""
    size = 7, 1.2 + 1.1 * len(by_language)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(len(by_language), 1, sharex=True, squeeze=False)[:, 0]
    low = math.floor(min(map(min, by_language.values())) * 20) / 20
    bins = np.linspace(low, max(1.0, low + 0.05), 61)
    for axes, (language, values) in zip(rows, by_language.items(), strict=True):
        axes.hist(values, bins=bins, color="tab:blue")
        axes.axvline(float(np.mean(values)), color="tab:red", linewidth=1)
        label = f"{language}\n({len(values)})"
        axes.set_ylabel(label, rotation=0, ha="right", parse_math=False)
        axes.set_yticks([])
    rows[0].set_title(f"{title} (red: mean)", fontsize=10, parse_math=False)
    rows[-1].set_xlabel("utterance confidence s_u")
    return save(figure, path)


def draw_reliability(
    path: Path, bins: Sequence[Mapping[str, float]], title: str
) -> Path:
    """Draw the share of right tokens over their confidence, a point for each bin.

    Bins have ``confidence``, ``right`` and ``tokens``, of which the bars are the
    binomial 95 % intervals (Wilson's). Returns ``path``, the PNG.
    """
    from scipy.stats import binomtest

    figure = Figure(figsize=(4.8, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for part in bins:
        count = round(part["tokens"])
        trials = binomtest(round(part["right"] * count), count)
        interval = trials.proportion_ci(method="wilson")
        ends = [[part["right"] - interval.low], [interval.high - part["right"]]]
        axes.errorbar(
            part["confidence"], part["right"], ends, fmt="o", color="tab:blue"
        )
    axes.set(xlabel="confidence of a token", ylabel="share that is right")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(title, fontsize=10, parse_math=False)
    return save(figure, path)


def _draw_panel(
    axes: Axes, name: str, keys: Sequence[str], stats: Mapping[int, Mapping[str, Any]]
) -> None:
    """Draw the statistics ``keys`` over the epochs, one colour each."""
    for i, key in enumerate(keys):
        # what a blind guess gets is the line to be above
        is_blind = key.startswith(("majority_", "chance_"))
        colour = "grey" if is_blind else f"C{i % 10}"
        label: str | None = key
        for part, style in (("train", "-"), ("valid", "--")):
            epochs = [e for e in sorted(stats) if key in stats[e].get(part, {})]
            values = [float(stats[epoch][part][key]) for epoch in epochs]
            if epochs:
                (line,) = axes.plot(epochs, values, style, label=label)
                line.set(color=colour, marker=".", markersize=4)
                label = None  # in the legend once
    if name.startswith("nats"):
        axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_title(name, fontsize=9)
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(labelsize=8)
    if name in LOG_SCALE:
        axes.set_yscale("log")
    axes.legend(fontsize=7)


def draw_curves(
    path: Path, stats: Mapping[int, Mapping[str, Any]], title: str
) -> Path | None:
    """Draw training curves, a panel for each group of statistics that was reported.

    ``stats`` is epoch -> ``train`` and ``valid`` -> statistic -> value. Returns
    ``path``, the PNG; None when there is nothing to draw.
    """
    keys = sorted(
        {
            key
            for epoch in stats.values()
            for part in ("train", "valid")
            for key, value in epoch.get(part, {}).items()
            # ESPnet reports NaN for what a model does not have
            if isinstance(value, int | float | np.number) and np.isfinite(value)
        }
    )
    panels = {
        name: shown
        for name, pattern in PANELS.items()
        if (shown := [key for key in keys if re.fullmatch(pattern, key)])
    }
    if not panels:
        return None
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = 4.6 * columns, 3.2 * rows + 0.4
    figure = Figure(figsize=size, layout="constrained")
    title += " (solid: train, dashed: valid)"
    figure.suptitle(title, fontsize=10, parse_math=False)
    for i, (name, shown) in enumerate(panels.items(), 1):
        _draw_panel(figure.add_subplot(rows, columns, i), name, shown, stats)
    return save(figure, path)
