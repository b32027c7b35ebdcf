"""Activations over settings: counts, and the interval for settings like these."""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from actbench.analysis.settings import SETTINGS_COLUMNS, compare_settings, over_settings
from actbench.report.settings import CHOSEN_NOT_DRAWN
from actbench.report.studies import studies_figures, studies_files
from helpers.made_studies import made_frames

if TYPE_CHECKING:
    from types import ModuleType

    from actbench.analysis.frames import Frames

LEAKY = "leaky_relu:0.1"
RELU = (0.80, 0.81, 0.80, 0.82, 0.81)
NOISE = (0.001, -0.001, 0.002, 0.0, -0.002)


@functools.cache
def setting(gain: float, **options: object) -> Frames:
    """Return a study in which leaky ReLU is better by a gain, with some noise over seeds."""
    leaky = tuple(value + gain + noise for value, noise in zip(RELU, NOISE, strict=True))
    return made_frames({"relu": RELU, LEAKY: leaky}, **options)


def settings(*gains: float) -> dict[str, Frames]:
    return {f"study {number}": setting(gain) for number, gain in enumerate(gains)}


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "simulate_statistics.py"
    spec = importlib.util.spec_from_file_location("simulate_statistics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_interval_is_the_t_interval_of_the_settings_means() -> None:
    means = [0.01, 0.02, 0.04, 0.03]
    found = over_settings(means, [0.004] * 4)
    expected = stats.ttest_1samp(means, 0)
    interval = expected.confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.between_sd == pytest.approx(math.sqrt(np.var(means, ddof=1) - 0.004**2))


def test_what_seeds_explain_is_no_difference_between_settings() -> None:
    assert over_settings([0.01, 0.02, 0.03], [0.05] * 3).between_sd == 0
    alone = over_settings([0.01, 0.02, 0.03], [math.nan] * 3)
    assert alone.between_sd == pytest.approx(0.01)


def test_equal_differences_are_tested_by_signs_although_they_are_rounded() -> None:
    found = over_settings([0.81 - 0.80, 0.31 - 0.30, 0.51 - 0.50], [0.001] * 3)
    assert found.p_value == 0.25
    assert math.isnan(found.ci_low)
    assert math.isnan(found.prediction_low)
    assert math.isnan(found.between_sd)


def test_settings_without_a_verdict_of_their_own_have_none_together() -> None:
    chance = {"relu": (0.1, 0.1001, 0.1, 0.1002, 0.1, 0.1), LEAKY: (0.5, 0.51, 0.5, 0.52, 0.5, 0.5)}
    rows = compare_settings({name: made_frames(chance) for name in "abc"})
    assert set(rows["no_verdict"]) == {3}
    assert set(rows["verdict"]) == {"no verdict"}


def test_identical_counts_as_equivalent() -> None:
    same = made_frames({"relu": RELU, LEAKY: RELU})
    rows = compare_settings({"a": same, "b": same, "c": setting(0.0001)})
    row = rows.set_index("metric").loc["clean_accuracy"]
    assert row["equivalent"] == 3
    assert row["settings"] == 3


def test_intervals_cover_the_mean_and_a_further_setting() -> None:
    rng = np.random.default_rng(0)
    covered = predicted = 0
    for means in rng.normal(1, 2, (2000, 6)):
        found = over_settings(means[:5], np.full(5, 0.5))
        covered += found.ci_low <= 1 <= found.ci_high
        predicted += found.prediction_low <= means[5] <= found.prediction_high
    error = math.sqrt(0.95 * 0.05 / 2000)
    assert abs(covered / 2000 - 0.95) < 3 * error
    assert abs(predicted / 2000 - 0.95) < 3 * error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("between", [0.5, 2])
def test_the_mixed_model_of_the_simulation_is_that_of_statsmodels(
    between: float, simulations: ModuleType
) -> None:
    rng = np.random.default_rng(1)
    draws = 1 + between * rng.standard_normal((6, 1)) + rng.standard_normal((6, 5))
    mean, half = simulations.mixed_model(draws[None])
    groups = np.repeat(np.arange(6), 5)
    fitted = MixedLM(draws.ravel(), np.ones((30, 1)), groups).fit(reml=True)
    assert mean[0] == pytest.approx(float(fitted.fe_params[0]))
    expected = stats.norm.ppf(0.975) * float(fitted.bse_fe[0])
    assert half[0] == pytest.approx(expected, rel=1e-3)


def test_counts_are_of_the_studies_own_verdicts() -> None:
    table = compare_settings(settings(0.04, 0.03, 0.0, -0.03))
    assert tuple(table.columns) == SETTINGS_COLUMNS
    row = table.set_index("metric").loc["clean_accuracy"]
    counts = row[["settings", "better", "worse", "equivalent", "undecided", "no_verdict"]]
    assert counts.tolist() == [4, 2, 1, 1, 0, 0]
    assert row["difference"] == pytest.approx(0.01)
    assert row["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.04, 0.041, 0.042), "better"),
        ((-0.04, -0.041, -0.042), "worse"),
        ((0.0, 0.001, -0.001), "equivalent"),
        ((0.04, -0.04, 0.0), "undecided"),
        ((0.04, 0.041), "no verdict"),
    ],
)
def test_the_verdict_over_settings(gains: tuple[float, ...], verdict: str) -> None:
    table = compare_settings(settings(*gains)).set_index("metric")
    assert table.loc["clean_accuracy", "verdict"] == verdict


def test_two_settings_have_counts_but_no_interval() -> None:
    row = compare_settings(settings(0.04, 0.041)).set_index("metric").loc["clean_accuracy"]
    assert (row["better"], row["note"]) == (2, "fewer than 3 settings")
    assert math.isnan(row["ci_low"])
    assert pd.notna(row["difference"])


def test_documents_show_the_table_and_a_figure_per_metric() -> None:
    studies = settings(0.04, 0.041, 0.042)
    text = studies_files(studies)["compare.md"].partition("## Over settings")[2]
    (row,) = (line for line in text.splitlines() if "clean accuracy" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:7] == [LEAKY, "clean accuracy, points", "3 of 3", "3", "0", "0", "0"]
    assert cells[7].startswith("+4.10 [")
    assert cells[-1] == "better"
    assert CHOSEN_NOT_DRAWN in text
    assert "nan" not in text
    figures = studies_figures(studies)
    assert set(figures) == {"settings_clean_accuracy.svg", "settings_corrupted_accuracy.svg"}
    assert all(svg.startswith("<svg") for svg in figures.values())
