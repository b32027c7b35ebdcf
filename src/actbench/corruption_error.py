"""Mean corruption error, relative to the baseline's: by activation, and by trial for intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def mean_corruption_error(corruptions: pd.DataFrame, baseline: str) -> pd.Series[float]:
    """Return each activation's mean corruption error in percent; the baseline is 100.

    mCE as Hendrycks & Dietterich (2019, section 4.2) define it, with the study's own baseline as
    the yardstick: for each corruption the errors summed over severities divided by the baseline's,
    averaged over corruptions. Errors are averaged over the seeds for which both have every
    accuracy that the table holds.

    Args:
        corruptions: the columns ``activation``, ``seed``, ``corruption``, ``severity`` and
            ``accuracy`` in [0, 1], NaN where there is none.
        baseline: the activation to divide by.

    Returns:
        A series named "mce" by activation in order of first appearance. A corruption under which
        the baseline makes no error is no yardstick and is left out of that activation's average;
        NaN where nothing remains, or no seed is shared.

    Raises:
        ValueError: an activation × seed × corruption × severity appears twice.
    """
    by_trial = corruption_error_by_trial(corruptions, baseline)
    activations = pd.Index(pd.unique(corruptions["activation"]), name="activation")
    means = by_trial.groupby(level="activation").mean()
    return means.reindex(activations).rename("mce")


def corruption_error_by_trial(corruptions: pd.DataFrame, baseline: str) -> pd.Series[float]:
    """Return values by trial whose mean over seeds is the activation's mean corruption error.

    They are those of ``linearised_ratio``, so that a t interval over seeds of the values less 100
    is one of the mean corruption error less the baseline's. The baseline's own values are all 100.

    Args:
        corruptions: as for ``mean_corruption_error``.
        baseline: likewise.

    Returns:
        A series by (activation, seed), in percent, of the seeds that are shared with the baseline.

    Raises:
        ValueError: as ``mean_corruption_error``.
    """
    table = 1 - corruptions.pivot(  # noqa: PD010 - pivot_table would average what appears twice
        index=["activation", "seed"], columns=["corruption", "severity"], values="accuracy"
    )
    errors = table.dropna().T.groupby(level="corruption").sum().T
    trained = errors.index.get_level_values("activation")
    theirs = errors[trained == baseline].droplevel("activation")
    found: dict[tuple[str, int], float] = {}
    for activation in pd.unique(trained):
        ours = errors[trained == activation].droplevel("activation")
        seeds = ours.index.intersection(theirs.index)
        a, b = (side.loc[seeds].to_numpy(np.float64) for side in (ours, theirs))
        usable = b.sum(axis=0) > 0
        if not usable.any():
            continue
        a, b = a[:, usable], b[:, usable]
        values = 100 * linearised_ratio(a, b)
        found.update(zip(((activation, seed) for seed in seeds), values, strict=True))
    return pd.Series(found, table.index, dtype=float).dropna()


def linearised_ratio(errors: Floats, baseline: Floats) -> Floats:
    """Return a value for each seed; their mean is the mean over corruptions of a ratio of means.

    With A and B a corruption's errors averaged over seeds, and a and b those of one seed,
    (a − b A / B) / B is to first order that seed's part in the error of A / B (Cochran 1977,
    chapter 6). The value is A / B plus this, averaged over corruptions.

    Args:
        errors: shape (seeds, corruptions), finite.
        baseline: likewise, of the same pairs, with means over seeds above 0.

    Returns:
        Shape (seeds,).
    """
    divisor = baseline.mean(axis=0)
    ratio = errors.mean(axis=0) / divisor
    values: Floats = (ratio + (errors - ratio * baseline) / divisor).mean(axis=1)
    return values
