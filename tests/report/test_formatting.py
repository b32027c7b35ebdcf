"""Numbers, differences and p-values as text, the same in every document."""

from __future__ import annotations

import math

import pytest

from actbench.report.formatting import (
    correlation,
    correlation_interval,
    difference,
    interval,
    number,
    p_value,
    p_value_of,
)


@pytest.mark.parametrize(
    ("value", "text", "sentence"),
    [
        (0.0314, "0.031", "p (Holm) = 0.031"),
        (9.9e-5, "< 0.0001", "p (Holm) < 0.0001"),
        (1.0, "1", "p (Holm) = 1"),
        (math.nan, "–", "p (Holm) = –"),
    ],
)
def test_a_p_value_has_two_digits_or_an_upper_bound(value: float, text: str, sentence: str) -> None:
    assert p_value(value) == text
    assert p_value_of("p (Holm)", value) == sentence


def test_a_difference_has_its_sign_its_unit_and_its_interval() -> None:
    row = {"difference": 0.0123, "ci_low": -0.003, "ci_high": 0.0276}
    assert difference(row, points=True) == "+1.23 [−0.30, +2.76]"
    assert difference(row, points=True, unit="points") == "+1.23 points [−0.30, +2.76]"
    assert difference(row, points=False) == "+0.012 [−0.003, +0.028]"


@pytest.mark.parametrize(
    ("low", "middle", "high", "text"),
    [
        (17.2, 30.0, 42.7, "+30 [+17, +43]"),
        (8.51, 29.61, 50.7, "+30 [+9, +51]"),
        (-0.00471, -0.000417, 0.00388, "−0.0004 [−0.0047, +0.0039]"),
        (0.2, 0.2, 0.2, "+0.2 [+0.2, +0.2]"),
        (-3e9, 2e9, 7e9, "+2e+09 [−3e+09, +7e+09]"),
        (1e-9, 2e-9, 3e-9, "+2e−09 [+1e−09, +3e−09]"),
    ],
)
def test_a_difference_has_the_decimals_of_its_interval(
    low: float, middle: float, high: float, text: str
) -> None:
    row = {"difference": middle, "ci_low": low, "ci_high": high}
    assert difference(row, points=False) == text


def test_a_correlation_has_two_decimals() -> None:
    assert correlation(-0.9) == "−0.90"
    assert correlation(math.nan) == "–"
    assert correlation_interval(0.774, 1.0) == "[+0.77, +1.00]"


@pytest.mark.parametrize("low", [math.nan, -math.inf, -0.02])
def test_a_difference_without_both_ends_of_an_interval_is_shown_without_one(low: float) -> None:
    row = {"difference": -0.01, "ci_low": low, "ci_high": math.nan}
    assert difference(row, points=True) == "−1.00"
    assert interval(low, math.nan, points=True) == "–"


@pytest.mark.parametrize(
    ("mean", "spread", "text"),
    [
        (0.2, 0.0424, "0.200 ± 0.042"),
        (1.0, 0.0301, "1.000 ± 0.030"),
        (0.999, 0.0996, "1.00 ± 0.10"),
        (-103.24, 4.12, "−103.2 ± 4.1"),
        (1234.6, 250.0, "1235 ± 250"),
        (2e7, 1e5, "2e+07 ± 1e+05"),
        (3e-8, 2e-9, "3e−08 ± 2e−09"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.5, math.nan, "0.5 ± –"),
        (math.nan, 0.1, "–"),
    ],
)
def test_a_mean_has_the_decimals_of_its_deviation(mean: float, spread: float, text: str) -> None:
    assert number(mean, spread) == text
