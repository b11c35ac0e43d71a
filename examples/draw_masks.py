#!/usr/bin/env python3
"""Draw where uniform and guided masks fall: the picture of the README.

examples/draw_masks.py exp/scorer_ctc/valid.loss.ave.pth talk.wav masks.png
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from matplotlib.figure import Figure

import espnet_a2m as a2m

DRAWS = 1000


def main() -> None:
    """Score a recording, draw masks of both kinds, and show what they cover."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scorer", help="as of espnet_a2m.load_scorer")
    parser.add_argument("audio")
    parser.add_argument("picture", help="a PNG to write")
    args = parser.parse_args()
    confidence = a2m.score(a2m.load_scorer(args.scorer), args.audio)
    torch.manual_seed(0)
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    sound, sure, masked = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 2])

    fs = confidence.grid.fs
    sound.specgram(confidence.speech + 1e-5, 512, fs, noverlap=352, cmap="magma")
    sound.set(ylabel="Hz", ylim=(0, fs / 2))
    seconds = confidence.times.numpy()
    sure.step(seconds, confidence.frames, where="mid", color="black", linewidth=1)
    sure.set(ylabel="confidence", ylim=(0, 1.02))
    for level, (guidance, colour) in enumerate(
        [("uniform", "tab:gray"), ("high", "tab:blue")]
    ):
        masks = a2m.draw_masks(confidence, DRAWS, guidance=guidance).numpy()
        label = {"uniform": "uniform", "high": "guided"}[guidance]
        masked.plot(seconds, masks.mean(0), color=colour, label=f"{label}: P(mask)")
        one = np.where(masks[0], -0.08 - 0.12 * level, np.nan)
        masked.step(seconds, one, where="mid", color=colour, linewidth=5)
    masked.set(
        ylabel="masks", xlabel="seconds", ylim=(-0.28, 1.2), yticks=[0, 0.4, 0.8]
    )
    masked.legend(loc="upper right", ncols=2, fontsize=8)
    figure.savefig(args.picture, dpi=100)


if __name__ == "__main__":
    main()
