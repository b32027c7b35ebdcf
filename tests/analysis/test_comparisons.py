"""Tables of paired comparisons: pairs, notes, studies that are too small, invariances."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from actbench.analysis.comparisons import COMPARISON_COLUMNS, compare
from actbench.analysis.summaries import summarise
from actbench.analysis.verdicts import VERDICTS
from helpers.trial_values import ACCURACY, LOSS, METRICS, only_row, study


def test_the_table_has_its_columns_in_order_of_activation_and_metric() -> None:
    values = study(b=[0.7, 0.8], relu=[0.7, 0.9], a=[0.7, 0.8])
    table = compare(values, baseline="relu", metrics=METRICS)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert list(table["activation"]) == ["b"] * len(METRICS) + ["a"] * len(METRICS)
    assert list(table["metric"]) == list(METRICS) * 2
    assert (table["baseline"] == "relu").all()
    empty = compare(values.iloc[2:4], baseline="relu", metrics=METRICS)
    assert tuple(empty.columns) == COMPARISON_COLUMNS
    assert empty.empty


def test_one_pair_has_a_difference_and_no_verdict() -> None:
    row = only_row(study(relu=[0.7], x=[0.8]))
    assert row["n"] == 1
    assert row["difference"] == pytest.approx(0.1)
    assert np.isnan([row["ci_low"], row["ci_high"], row["p_value"], row["p_equivalence"]]).all()
    assert row["verdict"] == "no verdict"
    assert "one pair only" in row["note"]


def test_two_pairs_work() -> None:
    row = only_row(study(relu=[0.7, 0.71], x=[0.8, 0.812]))
    expected = stats.ttest_rel([0.8, 0.812], [0.7, 0.71])
    assert row["p_value"] == pytest.approx(expected.pvalue)
    assert row["verdict"] == "better"
    assert math.isnan(row["pair_correlation"])
    assert "correlation" in row["note"]


def test_pairs_are_the_seeds_that_both_activations_have_in_any_order() -> None:
    values = pd.DataFrame(
        {
            "activation": ["x", "relu", "x", "relu", "x", "relu", "x"],
            "seed": [11, 3, 3, 7, 7, 5, 4],
            "clean_accuracy": [0.1, 0.70, 0.75, 0.60, 0.66, 0.2, 0.3],
        }
    )
    row = only_row(values)
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.055)
    assert "3 of 5 seeds left out, as a value is missing" in row["note"]


def test_pairs_with_a_diverged_or_infinite_value_are_excluded_and_counted() -> None:
    values = study("clean_loss", relu=[1.0, 1.1, 1.2, np.nan, 1.3], x=[0.9, 1.05, np.inf, 1.0, 1.1])
    row = only_row(values, LOSS)
    assert row["n"] == 3
    assert row["difference"] == pytest.approx((-0.1 - 0.05 - 0.2) / 3)
    assert "1 of 5 seeds left out, as a value is missing" in row["note"]
    assert "1 of 5 seeds left out, as a value is infinite" in row["note"]


@pytest.mark.parametrize(
    "values",
    [
        study(relu=[np.nan, np.nan], x=[0.7, 0.8]),
        study(x=[0.7, 0.8]),
        study("other_column", relu=[0.7, 0.8], x=[0.7, 0.8]),
    ],
    ids=["all diverged", "no baseline", "not measured"],
)
def test_without_pairs_there_is_a_reason_instead_of_a_verdict(values: pd.DataFrame) -> None:
    row = only_row(values)
    assert row["n"] == 0
    assert row["verdict"] == "no verdict"
    assert "no seed has a finite value for both" in row["note"]


def test_a_metric_without_a_margin_has_a_note() -> None:
    row = only_row(study("clean_loss", relu=[1.0, 1.1, 1.3], x=[1.0, 1.2, 1.1]), LOSS)
    assert np.isnan([row["margin"], row["p_equivalence"]]).all()
    assert pd.isna(row["seeds_needed"])
    assert "no natural margin" in row["note"]


def test_a_difference_far_below_its_noise_needs_more_than_a_million_seeds() -> None:
    row = only_row(study(relu=[0.1, 0.9, 0.5], x=[0.9, 0.1, 0.6]), margin=1e-6)
    assert pd.isna(row["seeds_needed"])
    assert "more than a million" in row["note"]


def test_pair_correlation_is_pearsons_and_needs_both_sides_to_vary() -> None:
    relu, x = [0.70, 0.72, 0.69, 0.75], [0.71, 0.74, 0.70, 0.73]
    expected = stats.pearsonr(relu, x).statistic
    assert only_row(study(relu=relu, x=x))["pair_correlation"] == pytest.approx(expected)
    row = only_row(study(relu=[0.7] * 4, x=x))
    assert math.isnan(row["pair_correlation"])
    assert "does not vary" in row["note"]


def test_a_trial_that_appears_twice_is_refused() -> None:
    twice = pd.concat([study(relu=[0.7], x=[0.8])] * 2)
    with pytest.raises(ValueError, match="more than one row"):
        compare(twice, baseline="relu", metrics=ACCURACY)


@pytest.mark.parametrize("options", [{"margin": 0}, {"margin": math.nan}, {"level": 0}])
def test_a_margin_or_level_out_of_range_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="it must"):
        compare(study(relu=[0.7], x=[0.8]), baseline="relu", metrics=ACCURACY, **options)


pairs = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=7).map(
    lambda rows: np.array(rows, dtype=np.float64).T / 1000
)

NUMBERS = list(COMPARISON_COLUMNS[4:13])


@given(pairs)
@settings(derandomize=True, deadline=None, max_examples=15)
def test_swapping_activation_and_baseline_flips_the_sign(values: np.ndarray) -> None:
    there = only_row(study(relu=values[0], x=values[1]))
    back = only_row(study(relu=values[1], x=values[0]))
    assert back["difference"] == -there["difference"]
    np.testing.assert_array_equal(
        [-back["ci_high"], -back["ci_low"]], [there["ci_low"], there["ci_high"]]
    )
    np.testing.assert_allclose(
        [back[c] for c in NUMBERS[3:]], [there[c] for c in NUMBERS[3:]], rtol=1e-12
    )
    mirrored = {"better": "worse", "worse": "better"}
    assert back["verdict"] == mirrored.get(there["verdict"], there["verdict"])


@given(pairs, st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None, max_examples=12)
def test_the_order_of_rows_does_not_matter(values: np.ndarray, random: Any) -> None:
    frame = study(relu=values[0], x=values[1], y=values[0][::-1])
    order = list(range(len(frame)))
    random.shuffle(order)
    tables = [
        compare(f, baseline="relu", metrics=ACCURACY).sort_values("activation", ignore_index=True)
        for f in (frame, frame.iloc[order])
    ]
    pd.testing.assert_frame_equal(*tables)


@given(pairs, st.integers(-8, 8))
@settings(derandomize=True, deadline=None, max_examples=15)
def test_the_unit_does_not_matter(values: np.ndarray, power: int) -> None:
    scale = 2.0**power
    plain = only_row(study(relu=values[0], x=values[1]), margin=0.01)
    scaled = only_row(study(relu=values[0] * scale, x=values[1] * scale), margin=0.01 * scale)
    for column in ("difference", "ci_low", "ci_high", "minimum_detectable_effect"):
        np.testing.assert_equal(scaled[column], plain[column] * scale)
    for column in ("p_value", "p_holm", "p_equivalence", "pair_correlation"):
        np.testing.assert_allclose(scaled[column], plain[column], rtol=1e-12)
    assert scaled["verdict"] == plain["verdict"]


@pytest.mark.parametrize("examples", [30, pytest.param(150, marks=pytest.mark.slow)])
def test_any_numbers_get_a_verdict_or_a_reason_for_its_absence(examples: int) -> None:
    @given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=5))
    @settings(derandomize=True, deadline=None, max_examples=examples)
    def check(values: Any) -> None:
        ours, theirs = np.array(values, dtype=np.float64).T
        frame = study(relu=theirs, x=ours)
        summarise(frame, ACCURACY)
        row = only_row(frame)
        assert row["verdict"] in VERDICTS
        missing = np.isnan([row[column] for column in NUMBERS if column != "margin"])
        assert row["note"] or not missing.any()

    check()


def test_differences_whose_squares_underflow_are_constant() -> None:
    for values in ([(0, 0), (0, 4.1e-261)], [(0, 0), (0, 0), (1, 4.1e-261)]):
        ours, theirs = np.array(values, dtype=np.float64).T
        row = only_row(study(relu=theirs, x=ours))
        assert row["verdict"] in VERDICTS
        assert row["note"]


def test_importing_it_does_not_load_the_slow_libraries() -> None:
    program = (
        "import sys, actbench.analysis.comparisons; sys.exit(any(n in sys.modules for n in "
        "('statsmodels', 'scipy.stats', 'scipy.optimize', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
