"""Robustness beside clean accuracy and beside mechanism: worked cases and other libraries'."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from actbench.robustness import (
    MECHANISM_COLUMNS,
    MECHANISMS,
    matched_accuracy,
    mechanism_correlations,
    rank_correlation,
    relative_corruption_error,
)
from actbench.sections import robustness_sections
from actbench.study import Study
from actbench.tables import derived_files
from synthetic import synthetic_frames

SLOPES = ("relu", "leaky_relu:0.1", "tanh")


def scores(errors: dict[str, list[float]]) -> pd.DataFrame:
    """Return a frame of one seed and severity with these errors, by corruption in order."""
    return pd.DataFrame(
        [
            (name, 0, f"c{i}", 1, 1 - error)
            for name, each in errors.items()
            for i, error in enumerate(each)
        ],
        columns=["activation", "seed", "corruption", "severity", "accuracy"],
    )


def trials(clean_errors: dict[str, float]) -> pd.DataFrame:
    rows = [(name, 0, 1 - error) for name, error in clean_errors.items()]
    return pd.DataFrame(rows, columns=["activation", "seed", "clean_accuracy"])


def test_relative_mce_of_a_case_worked_by_hand() -> None:
    table = scores({"relu": [0.3, 0.5], "tanh": [0.3, 0.7]})
    # relu adds 0.2 and 0.4 to 0.1, tanh 0.1 and 0.5 to 0.2: the mean of 50 % and 125 %
    found = relative_corruption_error(table, trials({"relu": 0.1, "tanh": 0.2}), "relu")
    assert dict(found) == pytest.approx({"relu": 100, "tanh": 87.5})


def test_a_corruption_that_adds_nothing_for_the_baseline_is_no_yardstick() -> None:
    table = scores({"relu": [0.1, 0.3], "tanh": [0.5, 0.4]})
    found = relative_corruption_error(table, trials({"relu": 0.1, "tanh": 0.2}), "relu")
    assert dict(found) == pytest.approx({"relu": 100, "tanh": 100})


def test_matched_accuracy_is_the_residual_of_the_regression() -> None:
    draw = np.random.default_rng(0)
    clean = draw.uniform(0.6, 0.8, 12)
    corrupted = 0.7 * clean + draw.normal(0, 0.02, 12)
    found = matched_accuracy(clean, corrupted)
    line = stats.linregress(clean, corrupted)
    residuals = corrupted - (line.intercept + line.slope * clean)
    assert found.slope == pytest.approx(line.slope)
    np.testing.assert_allclose(found.accuracies - corrupted.mean(), residuals, atol=1e-12)


def test_trials_on_one_line_have_one_matched_accuracy() -> None:
    clean = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    found = matched_accuracy(clean, 0.5 * clean + 0.1)
    np.testing.assert_allclose(found.accuracies, 0.45, atol=1e-12)


def test_trials_without_a_result_take_no_part_in_the_line() -> None:
    clean = np.array([0.5, np.nan, 0.6, 0.7, 0.8, 0.9])
    found = matched_accuracy(clean, 0.5 * clean + 0.1)
    assert found.n == 5
    assert np.isnan(found.accuracies).tolist() == [False, True, False, False, False, False]


@pytest.mark.parametrize("clean", [[0.5, 0.6, 0.7, 0.8], [0.5] * 9, []])
def test_too_little_to_draw_a_line_through_gives_nothing(clean: list[float]) -> None:
    values = np.array(clean)
    found = matched_accuracy(values, np.linspace(0.1, 0.2, len(values)))
    assert math.isnan(found.slope)
    assert np.isnan(found.accuracies).all()


def test_rank_correlation_is_spearmans_with_ties() -> None:
    one = np.array([1.0, 2.0, 2.0, 3.0, 9.0, 0.0])
    other = np.array([0.1, 0.4, 0.2, 0.2, 0.5, 0.3])
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert math.isnan(rank_correlation(np.ones(6), other))
    assert math.isnan(rank_correlation(one[:2], other[:2]))


def mechanism_values(rows: list[tuple[int, float, float]]) -> pd.DataFrame:
    """Return values with every mechanism equal to the second of (seed, mechanism, outcome)."""
    frame = pd.DataFrame(rows, columns=["seed", "mechanism", "corrupted_accuracy"])
    frame["activation"] = [f"a{i}" for i in range(len(frame))]
    return frame.assign(**dict.fromkeys(MECHANISMS, frame["mechanism"]))


def test_within_seeds_does_not_take_a_difference_of_seeds_for_one_of_activations() -> None:
    # within each seed more goes with less; the seeds' levels hide it over all trials
    rows = [(seed, seed + m / 10, seed - m / 10) for seed in range(4) for m in range(3)]
    table = mechanism_correlations(mechanism_values(rows))
    assert list(table) == list(MECHANISM_COLUMNS)
    assert (table["rank_correlation"] > 0.5).all()
    assert (table["within_seeds"] == -1).all()
    assert (table["n_trials"] == 12).all()
    assert (table["n_seeds"] == 4).all()
    # the same in every seed: no spread to make an interval of
    assert table["within_ci_low"].isna().all()


def test_the_interval_within_seeds_is_the_t_interval_over_seeds() -> None:
    outcomes = {0: (1, 2, 3), 1: (1, 3, 2), 2: (2, 1, 3)}
    rows = [(s, float(m), float(o)) for s, each in outcomes.items() for m, o in enumerate(each)]
    row = mechanism_correlations(mechanism_values(rows)).iloc[0]
    by_seed = [1, 0.5, 0.5]
    low, _ = stats.t.interval(0.95, 2, np.mean(by_seed), stats.sem(by_seed))
    assert row["within_seeds"] == pytest.approx(np.mean(by_seed))
    assert row["within_ci_low"] == pytest.approx(low)
    assert row["within_ci_high"] == 1  # no correlation is larger


def test_two_activations_have_no_rank_correlation_within_a_seed() -> None:
    rows = [(seed, float(m), float(seed + m)) for seed in range(4) for m in range(2)]
    table = mechanism_correlations(mechanism_values(rows))
    assert (table["n_seeds"] == 0).all()
    assert table["within_seeds"].isna().all()


def test_the_tables_show_all_of_it_with_n() -> None:
    study = Study(activations=SLOPES, seeds=3, corruptions=("shot_noise", "fog"))
    frames = synthetic_frames(study)
    sections = {section.id: section for section in robustness_sections(frames)}
    assert set(sections) == {"matched", "mechanism", "corrupted-ece", "corrupted-loss"}
    assert [row[:2] for row in sections["matched"].rows] == [[name, "3"] for name in SLOPES]
    assert {row[1] for row in sections["mechanism"].rows if row[1] != "0"} == {"9"}
    calibration = sections["corrupted-ece"]
    assert calibration.headers == ["corruption", "severity", *SLOPES]
    assert calibration.rows[0] == ["shot noise", "1", *["10.00 ± 0.00"] * 3]
    assert len(calibration.rows) == 10
    assert "n = 3 seeds" in calibration.note
    summary = derived_files(frames)["summary.md"]
    for section in sections.values():
        assert f"## {section.title}" in summary


def test_a_study_without_corruptions_has_none_of_it() -> None:
    frames = synthetic_frames(Study(activations=SLOPES, seeds=3, corruptions=()))
    assert robustness_sections(frames) == []
