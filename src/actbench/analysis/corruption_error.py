"""Mean corruption error, relative to the baseline's, by trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from actbench.analysis.paired import ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def corruption_error_by_trial(corruptions: pd.DataFrame, baseline: str) -> pd.Series[float]:
    """Return a value by trial whose mean over seeds is the activation's mean corruption error.

    mCE as Hendrycks & Dietterich (2019, section 4.2) define it, relative to the study's own
    baseline: for each corruption the errors summed over severities divided by the baseline's,
    averaged over corruptions. Errors are averaged over the seeds for which both have every
    accuracy that the table holds. The values are those of ``linearised_ratio``, so that a t
    interval over seeds of the values less 100 is one of the mean corruption error less the
    baseline's.

    Args:
        corruptions: the columns ``activation``, ``seed``, ``corruption``, ``severity`` and
            ``accuracy`` in [0, 1], NaN where there is none.
        baseline: the activation to divide by.

    Returns:
        A series by (activation, seed), in percent: 100 for the baseline's trials. Seeds that are
        not shared with the baseline are left out. So are a corruption under which the baseline
        makes no error, and an activation without shared seeds or remaining corruptions.

    Raises:
        ValueError: an activation × seed × corruption × severity appears twice.
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
        if seeds.empty:
            continue
        a, b = (side.loc[seeds].to_numpy(np.float64) for side in (ours, theirs))
        usable = b.mean(axis=0) > ROUNDING  # 1e-17 is rounding, not an error made
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
