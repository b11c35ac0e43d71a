"""How sure a mean, a correlation or a difference is: 95 % intervals by scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

#: Utterances below which no interval is given
ENOUGH = 10
RESAMPLES = 999

#: A figure and the ends of its 95 % interval, None where it has none
Estimate = dict[str, float | None]


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: P(positive > negative) + P(equal) / 2; NaN if empty."""
    from sklearn.metrics import roc_auc_score

    n, m = len(positive), len(negative)
    if not n or not m:
        return float("nan")
    return float(roc_auc_score(np.arange(n + m) < n, [*positive, *negative]))


def _ratio(parts: np.ndarray, wholes: np.ndarray, axis: int = -1) -> np.ndarray:
    return parts.sum(axis) / np.maximum(wholes.sum(axis), 1e-9)


def bootstrap_mean(values: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """``mean``, and its interval from ``low`` to ``high`` over utterances.

    ``values`` and ``weights`` are (utterances,); the mean is weighted by them. The
    interval is the percentile bootstrap's, of whole utterances with their weights.
    """
    weights = np.ones(len(values)) if weights is None else weights
    parts = values * weights, weights
    low = high = None
    if len(values) >= ENOUGH:
        low, high = map(
            float,
            stats.bootstrap(
                parts,
                _ratio,
                n_resamples=RESAMPLES,
                batch=max(1, 10**6 // len(values)),  # memory
                vectorized=True,
                paired=True,
                method="percentile",
                random_state=np.random.default_rng(0),
            ).confidence_interval,
        )
    return {"mean": float(_ratio(*parts)), "low": low, "high": high}


def rank_correlation(x: np.ndarray, y: np.ndarray) -> Estimate:
    """Spearman's ``rho`` of (n,) pairs, its interval by Fisher's z.

    None where pairs are too few, or all alike.
    """
    if len(x) < ENOUGH or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"rho": None, "low": None, "high": None}
    found = stats.pearsonr(stats.rankdata(x), stats.rankdata(y))
    low, high = found.confidence_interval()
    return {"rho": float(found.statistic), "low": float(low), "high": float(high)}


def effect_size(values: np.ndarray, others: np.ndarray) -> Estimate:
    """Cohen's ``d``: the difference of two means in standard deviations within them.

    Its interval is Welch's of the difference, in the same units. None where either has
    too few utterances, or all are equal.
    """
    n, m = len(values), len(others)
    none: Estimate = {"d": None, "low": None, "high": None}
    if min(n, m) < ENOUGH:
        return none
    within = (n - 1) * values.var(ddof=1) + (m - 1) * others.var(ddof=1)
    deviation = np.sqrt(within / (n + m - 2))
    if deviation == 0:
        return none
    interval = stats.ttest_ind(values, others, equal_var=False).confidence_interval()
    difference = values.mean() - others.mean(), interval.low, interval.high
    return dict(zip(none, (float(x / deviation) for x in difference)))


def explained_variance(groups: Sequence[np.ndarray]) -> float:
    """Omega squared: the share of the variance that lies between groups, from 0."""
    count, between = sum(map(len, groups)), len(groups) - 1
    if count <= len(groups) or np.ptp(np.concatenate(groups)) == 0:
        return 0.0
    excess = between * float(stats.f_oneway(*groups).statistic - 1)
    return 1 / (1 + count / excess) if excess > 0 else 0.0
