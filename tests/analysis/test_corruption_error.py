"""Mean corruption error relative to that of the baseline."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from actbench.analysis.corruption_error import corruption_error_by_trial


def corruption_table(accuracies: dict[tuple[str, int, str, int], float]) -> pd.DataFrame:
    columns = ["activation", "seed", "corruption", "severity"]
    frame = pd.DataFrame(list(accuracies), columns=columns)
    return frame.assign(accuracy=list(accuracies.values()))


def mean_corruption_error(table: pd.DataFrame) -> pd.Series:
    return corruption_error_by_trial(table, "relu").groupby("activation").mean()


def test_mean_corruption_error_is_the_ratio_of_summed_errors_averaged_over_corruptions() -> None:
    table = corruption_table(
        {
            ("relu", 0, "fog", 1): 0.8,
            ("relu", 0, "fog", 2): 0.6,
            ("relu", 0, "snow", 1): 0.9,
            ("relu", 0, "snow", 2): 0.9,
            ("x", 0, "fog", 1): 0.9,
            ("x", 0, "fog", 2): 0.8,
            ("x", 0, "snow", 1): 0.8,
            ("x", 0, "snow", 2): 0.9,
        }
    )
    result = mean_corruption_error(table)
    assert result["relu"] == pytest.approx(100)
    assert result["x"] == pytest.approx(100 * (0.3 / 0.6 + 0.3 / 0.2) / 2)


def test_mean_corruption_error_uses_the_seeds_that_both_activations_have() -> None:
    errors = {("relu", 0): 0.2, ("relu", 1): 0.4, ("relu", 2): 0.9, ("x", 0): 0.1, ("x", 1): 0.2}
    table = corruption_table({(a, s, "fog", 1): 1 - e for (a, s), e in errors.items()})
    diverged = pd.DataFrame(
        [{"activation": "x", "seed": 2, "corruption": "fog", "severity": 1, "accuracy": np.nan}]
    )
    result = mean_corruption_error(pd.concat([table, diverged]))
    assert result.to_dict() == pytest.approx({"relu": 100, "x": 50})


def test_mean_corruption_error_without_a_baseline_is_not_a_division_by_zero() -> None:
    perfect = {("relu", 0, "fog", 1): 1.0, ("x", 0, "fog", 1): 0.9}
    assert corruption_error_by_trial(corruption_table(perfect), "relu").empty
    usable = {**perfect, ("relu", 0, "snow", 1): 0.8, ("x", 0, "snow", 1): 0.9}
    result = mean_corruption_error(corruption_table(usable))
    assert result.to_dict() == pytest.approx({"relu": 100, "x": 50})
    assert corruption_error_by_trial(corruption_table(usable), "absent").empty
