"""Means, deviations and intervals over seeds are scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from actbench.analysis.summaries import SUMMARY_FIGURES, summarise
from helpers.trial_values import ACCURACY, LOSS, study


def test_the_summary_is_scipys() -> None:
    rng = np.random.default_rng(0)
    values = study(relu=rng.normal(0.7, 0.01, 5), b=rng.normal(0.8, 0.02, 3), a=[0.75])
    table = summarise(values, ACCURACY)
    assert list(table["activation"]) == ["relu", "b", "a"]
    assert list(table["n"]) == [5, 3, 1]
    for row, (_, group) in zip(
        table.to_dict("records"), values.groupby("activation", sort=False), strict=True
    ):
        sample = group["clean_accuracy"]
        assert row["clean_accuracy_mean"] == pytest.approx(sample.mean())
        assert row["clean_accuracy_n"] == len(sample)
        ends = [row["clean_accuracy_ci_low"], row["clean_accuracy_ci_high"]]
        if len(sample) == 1:
            assert np.isnan([row["clean_accuracy_std"], *ends]).all()
        else:
            assert row["clean_accuracy_std"] == pytest.approx(sample.std())
            expected = stats.t.interval(0.95, len(sample) - 1, sample.mean(), stats.sem(sample))
            assert ends == pytest.approx(expected)


def test_a_diverged_trial_does_not_count_in_the_summary() -> None:
    table = summarise(study(relu=[0.7, np.nan, 0.8], x=[np.nan, np.nan, np.nan]), ACCURACY)
    assert list(table["n"]) == [2, 0]
    assert table["clean_accuracy_mean"].tolist()[0] == pytest.approx(0.75)
    assert math.isnan(table["clean_accuracy_mean"].tolist()[1])


def test_the_summary_has_its_columns_even_when_nothing_ran() -> None:
    expected = ["activation", "n", *(f"clean_loss_{figure}" for figure in SUMMARY_FIGURES)]
    assert list(summarise(study("clean_loss", relu=[1.0]).iloc[:0], LOSS).columns) == expected
