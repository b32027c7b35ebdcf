"""Standard errors from seeds and from test images: against an analysis of variance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from actbench.analysis.variance import crossed_standard_errors, variance_sources


def test_the_standard_errors_are_those_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6)) + rng.normal(size=(4, 1)) + rng.normal(size=6)
    cells = pd.DataFrame(
        [{"seed": s, "image": i, "y": values[s, i]} for s in range(4) for i in range(6)]
    )
    table = anova_lm(ols("y ~ C(seed) + C(image)", data=cells).fit())
    squares = table["sum_sq"] / table["df"] / 24
    seeds, images, residual = squares["C(seed)"], squares["C(image)"], squares["Residual"]
    error = crossed_standard_errors(values)
    assert error.seeds**2 == pytest.approx(seeds)
    assert error.images**2 == pytest.approx(images)
    assert error.total**2 == pytest.approx(seeds + images - residual)


def test_the_standard_errors_are_right_on_average() -> None:
    rng = np.random.default_rng(0)
    n_seeds, n_images, deviations = 5, 40, (0.2, 0.7, 0.9)  # of seeds, images, residual
    squares, means = [], []
    for _ in range(2000):
        values = (
            deviations[0] * rng.standard_normal((n_seeds, 1))
            + deviations[1] * rng.standard_normal(n_images)
            + deviations[2] * rng.standard_normal((n_seeds, n_images))
        )
        error = crossed_standard_errors(values)
        squares.append([error.seeds**2, error.images**2, error.total**2])
        means.append(values.mean())
    shared = deviations[2] ** 2 / (n_seeds * n_images)
    of_seeds, of_images = deviations[0] ** 2 / n_seeds, deviations[1] ** 2 / n_images
    expected = [of_seeds + shared, of_images + shared, of_seeds + of_images + shared]
    np.testing.assert_allclose(np.mean(squares, axis=0), expected, rtol=0.05)
    assert np.var(means) == pytest.approx(expected[2], rel=0.1)


def test_the_standard_error_from_seeds_is_that_of_the_paired_test() -> None:
    rng = np.random.default_rng(0)
    correct = {
        (name, seed): rng.random(200) < 0.7 for name in ("relu", "b", "a") for seed in range(4)
    }
    del correct["b", 2]
    table = variance_sources(correct, "relu").set_index("activation")
    assert list(table.index) == ["b", "a"]
    assert list(table["n_seeds"]) == [3, 4]
    assert (table["n_images"] == 200).all()
    seeds = {"b": [0, 1, 3], "a": [0, 1, 2, 3]}
    for name, shared in seeds.items():
        accuracy = [correct[name, s].mean() - correct["relu", s].mean() for s in shared]
        assert table.loc[name, "standard_error_seeds"] == pytest.approx(stats.sem(accuracy))
        assert table.loc[name, "difference"] == pytest.approx(np.mean(accuracy))


@pytest.mark.parametrize(
    ("of_seeds", "of_images", "answer"),
    [(1.0, 0.1, "more seeds"), (0.01, 1.0, "more test images"), (0.223, 1.0, "either")],
)
def test_the_larger_source_of_variance_is_the_one_to_increase(
    of_seeds: float, of_images: float, answer: str
) -> None:
    rng = np.random.default_rng(0)
    seeds = stats.zscore(rng.standard_normal(10), ddof=1)
    images = stats.zscore(rng.standard_normal(200), ddof=1)
    correct = {("relu", s): np.zeros(200) for s in range(10)}
    correct |= {("x", s): of_seeds * seeds[s] + of_images * images for s in range(10)}
    assert variance_sources(correct, "relu")["reduced_by"].tolist() == [answer]


def test_too_little_to_decompose_gives_nan() -> None:
    scores = np.array([1.0, 0.0, 1.0])
    one = variance_sources({("relu", 0): scores, ("x", 0): scores[::-1].copy() * 0.5}, "relu")
    assert one["reduced_by"].tolist() == ["more seeds"]
    assert one[["standard_error_seeds", "standard_error_total"]].isna().all(axis=None)
    assert one["standard_error_images"].notna().all()
    same = {(name, seed): scores for name in ("relu", "x") for seed in range(2)}
    assert variance_sources(same, "relu")["reduced_by"].tolist() == ["neither"]
    unpaired = variance_sources({("relu", 0): scores, ("x", 1): scores}, "relu")
    assert unpaired["n_seeds"].tolist() == [0]
    assert unpaired["reduced_by"].tolist() == [""]
    assert variance_sources({}, "relu").empty


@pytest.mark.parametrize(
    "scores", [np.zeros(4), np.zeros((3, 1)), np.array([1.0, np.nan, 0.0])], ids=str
)
def test_scores_that_do_not_fit_are_refused(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scores"):
        variance_sources({("relu", 0): np.zeros(3), ("x", 0): scores}, "relu")
