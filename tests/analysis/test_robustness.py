"""Robustness against clean accuracy and mechanism: worked cases, and other libraries' results."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.api import OLS, add_constant

from actbench.analysis.corruption_error import corruption_error_by_trial, linearised_ratio
from actbench.analysis.frames import Frames
from actbench.analysis.matched import matched_difference
from actbench.analysis.paired import paired_t
from actbench.analysis.robustness import (
    MECHANISM_COLUMNS,
    MECHANISMS,
    beyond_clean_error,
    mechanism_correlations,
    rank_correlation,
)
from actbench.report.markdown import summary_markdown
from actbench.report.robustness import robustness_tables
from actbench.study.study import Study
from helpers.made_studies import made_records, made_study
from helpers.synthetic import synthetic_frames

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


def relative_error(table: pd.DataFrame, clean_errors: dict[str, float]) -> dict[str, float]:
    added = beyond_clean_error(table, trials(clean_errors))
    found = corruption_error_by_trial(added, "relu").groupby("activation").mean()
    return {str(name): value for name, value in found.items()}


def test_relative_mce_of_a_case_worked_by_hand() -> None:
    table = scores({"relu": [0.3, 0.5], "tanh": [0.3, 0.7]})
    # relu adds 0.2 and 0.4 to 0.1, tanh 0.1 and 0.5 to 0.2: the mean of 50 % and 125 %
    found = relative_error(table, {"relu": 0.1, "tanh": 0.2})
    assert found == pytest.approx({"relu": 100, "tanh": 87.5})


def test_a_corruption_that_adds_no_error_for_the_baseline_is_excluded() -> None:
    table = scores({"relu": [0.1, 0.3], "tanh": [0.5, 0.4]})
    found = relative_error(table, {"relu": 0.1, "tanh": 0.2})
    assert found == pytest.approx({"relu": 100, "tanh": 100})


# Matched accuracy


def test_the_matched_difference_is_the_intercept_of_least_squares_with_its_interval() -> None:
    draw = np.random.default_rng(0)
    clean = draw.normal(0.03, 0.01, 9)
    corrupted = 0.8 * clean - 0.02 + draw.normal(0, 0.004, 9)
    found = matched_difference(corrupted, clean, margin=0.005)
    fit = OLS(corrupted, add_constant(clean)).fit()
    (low, high), _ = fit.conf_int()
    assert found.slope == pytest.approx(fit.params[1])
    assert found.test.difference == pytest.approx(fit.params[0])
    assert [found.test.ci_low, found.test.ci_high] == pytest.approx([low, high])
    assert found.test.p_value == pytest.approx(fit.pvalues[0])
    one_sided = [
        fit.t_test(([1, 0], bound)).tvalue.item() * side
        for bound, side in ((-0.005, 1), (0.005, -1))
    ]
    assert found.p_equivalence == pytest.approx(max(stats.t.sf(one_sided, 7)))


def test_clean_accuracy_that_never_differs_leaves_the_paired_t_test() -> None:
    corrupted = np.array([0.01, 0.02, 0.015])
    found = matched_difference(corrupted, np.zeros(3), margin=0.005)
    expected = list(vars(paired_t(corrupted)).values())
    np.testing.assert_array_equal(list(vars(found.test).values()), expected)


@pytest.mark.parametrize(
    ("clean", "corrupted", "reason"),
    [
        ([0.01, 0.02, 0.03, 0.02], [0.01, 0.02, 0.01, 0.03], "fewer than 5 pairs"),
        ([0.01] * 6, [0.01, 0.02, 0.01, 0.03, 0.02, 0.01], "vary too little"),
        ([0.1, 0.101, 0.1, 0.099, 0.1], [0.01, 0.02, 0.01, 0.03, 0.02], "vary too little"),
        ([0.01, 0.02, 0.03, 0.02, 0.04], [0.02, 0.03, 0.04, 0.03, 0.05], "on one line"),
    ],
)
def test_too_few_points_for_a_line_are_not_estimable(
    clean: list[float], corrupted: list[float], reason: str
) -> None:
    found = matched_difference(np.array(corrupted), np.array(clean), margin=0.005)
    assert found.reason.startswith("not estimable: ")
    assert reason in found.reason
    assert np.isnan([*vars(found.test).values(), found.p_equivalence, found.slope]).all()


@pytest.mark.parametrize("effect", [-2.0, 0.0])
def test_a_gain_in_clean_accuracy_does_not_absorb_the_effect(effect: float) -> None:
    rng = np.random.default_rng(0)
    estimates, covered, equivalent = [], [], []
    for _ in range(2000):
        clean = rng.normal(3, 0.7, 10)
        corrupted = clean + effect + rng.normal(0, 0.5, 10)
        found = matched_difference(corrupted, clean, margin=0.5)
        if found.reason:
            continue
        estimates.append(found.test.difference)
        covered.append(found.test.ci_low <= effect <= found.test.ci_high)
        equivalent.append(found.p_equivalence <= 0.05)
    assert len(estimates) > 1900
    assert np.mean(estimates) == pytest.approx(effect, abs=0.1)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(equivalent) <= 0.05


def study_frames(clean: dict[str, list[float]], corrupted: dict[str, list[float]]) -> Frames:
    """Return the frames of a study with these accuracies by seed."""
    study = made_study(clean)
    records = {
        name: dataclasses.replace(
            record,
            corruptions=tuple(
                dataclasses.replace(score, accuracy=corrupted[record.activation][record.seed])
                for score in record.corruptions
            ),
        )
        for name, record in made_records(clean, study).items()
    }
    return Frames(study, records)


def test_a_study_compares_at_matched_clean_accuracy_and_shows_it() -> None:
    rng = np.random.default_rng(1)
    clean = {"relu": rng.normal(0.7, 0.01, 8), "tanh": rng.normal(0.72, 0.01, 8)}
    corrupted = {
        name: values - 0.1 - 0.03 * (name == "tanh") + rng.normal(0, 0.001, 8)
        for name, values in clean.items()
    }
    frames = study_frames(
        {name: list(values) for name, values in clean.items()},
        {name: list(values) for name, values in corrupted.items()},
    )
    row = frames.comparisons.set_index("metric").loc["matched_accuracy"]
    expected = matched_difference(
        corrupted["tanh"] - corrupted["relu"], clean["tanh"] - clean["relu"], 0.005
    )
    assert row["difference"] == pytest.approx(expected.test.difference)
    assert row["ci_low"] == pytest.approx(expected.test.ci_low)
    assert row["p_equivalence"] == pytest.approx(expected.p_equivalence)
    assert row["verdict"] == "worse"
    assert row["ci_low"] < -0.03 < row["ci_high"]
    means = frames.summary.set_index("activation")["matched_accuracy_mean"]
    assert means["tanh"] - means["relu"] == pytest.approx(row["difference"])
    assert means["relu"] == pytest.approx(corrupted["relu"].mean())
    (section,) = (s for s in robustness_tables(frames) if s.id == "matched")
    assert section.rows[0][-1] == "worse"


def test_a_matched_difference_that_is_not_estimable_has_no_verdict_and_a_reason() -> None:
    frames = synthetic_frames(Study(activations=SLOPES, seeds=3, corruptions=("fog",)))
    rows = frames.comparisons[frames.comparisons["metric"] == "matched_accuracy"]
    assert rows["verdict"].tolist() == ["no verdict"] * 2
    assert rows["note"].str.contains("not estimable: fewer than 5 pairs").all()
    assert rows["seeds_needed"].isna().all()
    (section,) = (s for s in robustness_tables(frames) if s.id == "matched")
    assert [row[-1] for row in section.rows] == ["not estimable"] * 2


# Mean corruption error


def test_the_value_of_a_seed_is_the_jackknifes_to_first_order() -> None:
    rng = np.random.default_rng(0)
    n = 200
    errors, baseline = rng.normal(0.3, 0.01, (2, n, 3))
    values = linearised_ratio(errors, baseline)
    ratio = (errors.mean(0) / baseline.mean(0)).mean()
    assert values.mean() == pytest.approx(ratio)
    left_out = [
        (np.delete(errors, i, 0).mean(0) / np.delete(baseline, i, 0).mean(0)).mean()
        for i in range(n)
    ]
    jackknife = math.sqrt((n - 1) ** 2 / n * np.var(left_out, ddof=1))
    assert stats.sem(values) == pytest.approx(jackknife, rel=0.01)


@pytest.mark.parametrize("n", [5, 10])
def test_the_interval_of_the_mean_corruption_error_covers_it(n: int) -> None:
    rng = np.random.default_rng(n)
    seed = rng.normal(0, 0.015, (2000, n, 1))
    errors = 0.36 + seed + rng.normal(0, 0.02, (2000, n, 4))
    baseline = 0.30 + seed + rng.normal(0, 0.02, (2000, n, 4))
    values = [linearised_ratio(*pair) for pair in zip(errors, baseline, strict=True)]
    interval = paired_t(np.array(values))
    covered = (interval.ci_low <= 1.2) & (interval.ci_high >= 1.2)
    assert 0.93 <= covered.mean() <= 0.97


def test_mce_and_relative_mce_have_an_interval_and_a_verdict() -> None:
    rng = np.random.default_rng(2)
    clean = {name: list(rng.normal(0.7, 0.005, 6)) for name in ("relu", "tanh")}
    corrupted = {
        "relu": [c - 0.10 + e for c, e in zip(clean["relu"], rng.normal(0, 0.003, 6), strict=True)],
        "tanh": [c - 0.15 + e for c, e in zip(clean["tanh"], rng.normal(0, 0.003, 6), strict=True)],
    }
    frames = study_frames(clean, corrupted)
    rows = frames.comparisons.set_index("metric")
    errors = {name: 1 - np.array(values) for name, values in corrupted.items()}
    added = {name: errors[name] - 1 + np.array(clean[name]) for name in errors}
    for metric, of in (("mce", errors), ("relative_mce", added)):
        row = rows.loc[metric]
        ratio = of["tanh"].mean() / of["relu"].mean()
        spread = stats.sem((of["tanh"] - ratio * of["relu"]) / of["relu"].mean())
        assert row["difference"] == pytest.approx(100 * (ratio - 1))
        half = 100 * stats.t.ppf(0.975, 5) * spread
        assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half)
        assert row["verdict"] == "worse"
        summary = frames.summary.set_index("activation")
        assert summary.loc["tanh", metric] == pytest.approx(100 * ratio)
        assert summary.loc["tanh", f"{metric}_mean"] == pytest.approx(100 * ratio)
        assert summary.loc["relu", metric] == 100
    (section,) = (s for s in robustness_tables(frames) if s.id == "errors")
    assert [row[:3] + row[-1:] for row in section.rows] == [
        ["tanh", "mCE", "6", "worse"],
        ["tanh", "relative mCE", "6", "worse"],
    ]


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


def test_correlation_within_seeds_ignores_differences_between_seeds() -> None:
    # negative correlation within each seed; over all trials the seeds' levels hide it
    rows = [(seed, seed + m / 10, seed - m / 10) for seed in range(4) for m in range(3)]
    table = mechanism_correlations(mechanism_values(rows))
    assert list(table) == list(MECHANISM_COLUMNS)
    assert (table["rank_correlation"] > 0.5).all()
    assert (table["within_seeds"] == -1).all()
    assert (table["n_trials"] == 12).all()
    assert (table["n_seeds"] == 4).all()
    # the same in every seed: no spread, so no interval
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


def test_the_tables_show_every_robustness_measure_with_n() -> None:
    study = Study(activations=SLOPES, seeds=3, corruptions=("shot_noise", "fog"))
    frames = synthetic_frames(study)
    sections = {section.id: section for section in robustness_tables(frames)}
    expected = {"errors", "matched", "mechanism", "by-level", "corrupted-ece", "corrupted-loss"}
    assert set(sections) == expected
    assert [row[:2] for row in sections["matched"].rows] == [[name, "3"] for name in SLOPES[1:]]
    assert {row[1] for row in sections["mechanism"].rows if row[1] != "0"} == {"9"}
    calibration = sections["corrupted-ece"]
    assert calibration.headers == ["corruption", "severity", *SLOPES]
    assert calibration.rows[0] == ["shot noise", "1", *["10.00 ± 0.00"] * 3]
    assert len(calibration.rows) == 10
    assert "n = 3 seeds" in calibration.note
    summary = summary_markdown(frames)
    for section in sections.values():
        assert f"## {section.title}" in summary


def test_a_study_without_corruptions_has_no_robustness_measures() -> None:
    frames = synthetic_frames(Study(activations=SLOPES, seeds=3, corruptions=()))
    assert robustness_tables(frames) == ()
