"""Intervals of the mean over settings, of which ``simulate_statistics.py`` measures the coverage.

Each is a mean and a half-width for each of many studies: draws are paired differences, shape
(studies, settings, seeds).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from actbench.analysis.paired import paired_t
from actbench.analysis.sequential import LEVEL


def t_over_means(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the t interval over the settings' means, as actbench computes it."""
    found = paired_t(draws.mean(axis=-1))
    return found.difference, (found.ci_high - found.ci_low) / 2


def mixed_model(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and half-width of the Wald interval of a random-intercept model, by REML.

    Its closed form for equal numbers of seeds; a test compares it with statsmodels' MixedLM.

    Args:
        draws: paired differences, shape (studies, settings, seeds).
    """
    _, k, n = draws.shape
    means = draws.mean(axis=-1)
    within = draws.var(axis=-1, ddof=1).mean(axis=-1)
    across = n * means.var(axis=-1, ddof=1)
    pooled = draws.reshape(len(draws), -1).var(axis=-1, ddof=1)
    variance = np.where(across > within, across, pooled) / (k * n)
    return means.mean(axis=-1), stats.norm.ppf(1 - LEVEL / 2) * np.sqrt(variance)


def knapp_hartung(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights 1 / (se² + τ²), τ² of DerSimonian & Laird; interval of Knapp & Hartung (2003)."""
    k = draws.shape[1]
    means, errors = draws.mean(axis=-1), draws.var(axis=-1, ddof=1) / draws.shape[2]
    fixed = 1 / errors
    centre = (fixed * means).sum(axis=-1, keepdims=True) / fixed.sum(axis=-1, keepdims=True)
    excess = (fixed * (means - centre) ** 2).sum(axis=-1) - (k - 1)
    scale = fixed.sum(axis=-1) - (fixed**2).sum(axis=-1) / fixed.sum(axis=-1)
    weights = 1 / (errors + np.maximum(excess / scale, 0)[:, None])
    total = weights.sum(axis=-1)
    mean = (weights * means).sum(axis=-1) / total
    spread = (weights * (means - mean[:, None]) ** 2).sum(axis=-1) / ((k - 1) * total)
    return mean, stats.t.ppf(1 - LEVEL / 2, k - 1) * np.sqrt(spread)


def stratified_bootstrap(
    rng: np.random.Generator, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Seeds are drawn anew within each setting, 400 times; percentile interval."""
    _, k, n = draws.shape
    means, halves = [], []
    for study in draws:
        seeds = rng.integers(n, size=(400, k, n))
        again = np.take_along_axis(study[None], seeds, axis=-1).mean(axis=(1, 2))
        low, high = np.quantile(again, (LEVEL / 2, 1 - LEVEL / 2))
        means.append((low + high) / 2)
        halves.append((high - low) / 2)
    return np.array(means), np.array(halves)
