"""Bootstrap of error rates over utterances, and over the seeds of a system."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.stats

#: Seeds of a system below which nothing is said of what another seed would give
MIN_SEEDS = 3
#: Draws whose weights are in memory at once
BLOCK_DRAWS = 500


def resample(size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, size) how often each item is drawn, of ``size`` with replacement."""
    picks = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * size).reshape(draws, size)


def seed_weights(seeds: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, seeds) weights of resampled seeds, less the 1 that they are on average.

    Resampled means of few values vary too little: by (S - 1) / S of the variance, and
    the normal quantile is not Student's. The weights are stretched by both, so that
    percentiles of a mean over seeds are about its t interval (Hesterberg 2015, "What
    teachers should know about the bootstrap", expands percentiles for this). Below
    `MIN_SEEDS` they are 0.
    """
    if seeds < MIN_SEEDS:
        return np.zeros((draws, seeds))
    quantiles = scipy.stats.t.ppf(0.975, seeds - 1) / scipy.stats.norm.ppf(0.975)
    stretch = quantiles * np.sqrt(seeds / (seeds - 1))
    return stretch * (resample(seeds, draws, rng) - 1)


def bootstrap_rates(
    tokens: np.ndarray, errors: Sequence[np.ndarray], draws: int
) -> np.ndarray:
    """(systems, draws) error rates in percent of resampled utterances and seeds.

    A draw is the rate of resampled utterances (Bisani and Ney, ICASSP 2004), mean over
    the seeds, plus what the mean over resampled seeds differs by. All systems share
    the draws of utterances, and those with as many seeds the draws of seeds, so that
    differences between their rows are paired.

    Args:
        tokens: (N,) of the references.
        errors: (S, N) of the seeds of each system.
        draws: How many; the same every time.
    """
    rng, seed_rng = np.random.default_rng(0), np.random.default_rng(1)
    means = np.stack([of_system.mean(0) for of_system in errors])
    rates = np.empty((len(errors), draws))
    for first in range(0, draws, BLOCK_DRAWS):
        block = slice(first, min(first + BLOCK_DRAWS, draws))
        counts = resample(len(tokens), block.stop - first, rng).astype(float)
        rates[:, block] = 100 * (means @ counts.T) / np.maximum(counts @ tokens, 1)
    numbers = sorted({len(of_system) for of_system in errors})
    weights = {seeds: seed_weights(seeds, draws, seed_rng) for seeds in numbers}
    for row, of_system in zip(rates, errors, strict=True):
        of_seeds = 100 * of_system.sum(1) / max(tokens.sum(), 1)
        row += weights[len(of_system)] @ of_seeds / len(of_system)
    return rates


def percentiles(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of bootstrapped values (draws,)."""
    low, high = np.percentile(values, (2.5, 97.5)).tolist()
    return low, high
