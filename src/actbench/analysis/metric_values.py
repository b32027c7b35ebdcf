"""One row per trial and one column per metric: the input of all statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.analysis.corruption_error import corruption_error_by_trial
from actbench.analysis.metrics import robust_metric
from actbench.analysis.robustness import beyond_clean_error
from actbench.study.levels import severities

if TYPE_CHECKING:
    import pandas as pd


def metric_values(
    trials: pd.DataFrame,
    matched: pd.DataFrame,
    corruptions: pd.DataFrame,
    attacks: pd.DataFrame,
    baseline: str,
) -> pd.DataFrame:
    """Return a row per trial with ``activation``, ``seed`` and the columns of ``metrics_for``.

    Fractions, except ``mce`` and ``relative_mce`` in percent; NaN if the trial has no value. A mean
    over severities needs all of them.

    Args:
        trials: as ``Frames.trials``.
        matched: as ``matched_accuracies`` returns it.
        corruptions: as ``Frames.corruptions``.
        attacks: as ``Frames.attacks``.
        baseline: the activation that corruption errors are relative to.
    """
    values = trials.drop(columns=["status", "epochs", "reason", "flag"])
    pair = ["activation", "seed"]
    values = values.merge(matched.drop(columns="slope"), "left", on=pair)
    added = beyond_clean_error(corruptions, trials)
    for name, scores in (("mce", corruptions), ("relative_mce", added)):
        errors = corruption_error_by_trial(scores, baseline).rename(name)
        values = values.merge(errors, "left", left_on=pair, right_index=True)
    by_corruption = corruptions.groupby([*pair, "corruption"])["accuracy"]
    counts = by_corruption.count()
    of = counts.index.get_level_values("corruption")
    complete = counts == [len(severities(name)) for name in of]
    means = by_corruption.mean().where(complete).unstack("corruption")  # noqa: PD010 - unique
    values = values.merge(means.add_prefix("accuracy_"), "left", left_on=pair, right_index=True)
    if attacks.empty:
        return values
    names = map(robust_metric, attacks["attack"], attacks["epsilon"])
    robust = attacks.assign(metric=list(names)).pivot_table("accuracy", pair, "metric", sort=False)
    return values.merge(robust, "left", left_on=pair, right_index=True)
