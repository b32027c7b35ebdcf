"""Printed numbers: their values, and all values that round to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actbench.analysis.printed import (
    Range,
    is_missing,
    parse_number,
    parse_pair,
    parse_plus_minus,
)


@pytest.mark.parametrize(
    ("text", "value", "step", "sign"),
    [
        ("86.66", 86.66, 0.01, "="),
        ("**86.660 %**", 86.66, 0.001, "="),
        ("$86.7$†", 86.7, 0.1, "="),
        (r"\textbf{86.7}\%", 86.7, 0.1, "="),
        ("−0.4", -0.4, 0.1, "="),
        ("–0.4", -0.4, 0.1, "="),
        ("87", 87, 1, "="),
        (".05", 0.05, 0.01, "="),
        ("1.5e-3", 0.0015, 0.0001, "="),
        ("P = 0.1973", 0.1973, 0.0001, "="),
        ("p ≤ 0.001", 0.001, 0.001, "<"),
        ("< 1e−3", 0.001, 0.001, "<"),
        ("> 0.05", 0.05, 0.01, ">"),
        ("P < 5e-2 (0.0475)", 0.0475, 0.0001, "="),
        ("23 (2)", 23, 1, "="),
    ],
)
def test_a_number_has_the_place_of_its_last_digit(
    text: str, value: float, step: float, sign: str
) -> None:
    found = parse_number(text)
    assert found is not None
    assert (found.value, found.step, found.sign) == (value, pytest.approx(step), sign)


@pytest.mark.parametrize(
    "text", ["86,66", "8O", "1 2", "inf", "1e999", "±0.3", "0x1f", "x", "1.2.3"]
)
def test_other_text_is_no_number(text: str) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "-0.4 to 0.1",
        "[-0.4, 0.1]",
        "(−0.4; 0.1)",
        "–0.4 – 0.1",
        "-0.4..0.1",
        "[–0.4%, 0.1%]",
    ],
)
def test_an_interval_has_two_ends(text: str) -> None:
    ends = parse_pair(text)
    assert ends is not None
    assert [end.value for end in ends] == [-0.4, 0.1]


def test_two_negative_ends_are_told_from_a_dash_between_them() -> None:
    ends = parse_pair("−0.4 – −0.1")
    assert ends is not None
    assert [end.value for end in ends] == [-0.4, -0.1]


@pytest.mark.parametrize(
    "text", ["86.66 ± 0.58", "86.66±0.58", "86.66 (0.58)", "$86.66 \\pm 0.58$", "86.66 +/- .58"]
)
def test_a_value_with_its_spread(text: str) -> None:
    found = parse_plus_minus(text)
    assert found is not None
    assert [part.value for part in found] == [86.66, 0.58]


@pytest.mark.parametrize("text", ["", "-", "–", " n/a ", "NaN", "**-**"])
def test_cells_without_a_value(text: str) -> None:
    assert is_missing(text)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_a_number_is_among_those_that_its_rounded_text_stands_for(
    value: float, decimals: int
) -> None:
    found = parse_number(f"{value:.{decimals}f}")
    assert found is not None
    assert found.values().meets(Range(value, value))
    assert found.step == pytest.approx(10**-decimals)


@given(st.floats(0, 1e6), st.integers(0, 6))
def test_digits_that_were_cut_off_are_allowed_for(value: float, decimals: int) -> None:
    cut = int(value * 10**decimals) / 10**decimals
    found = parse_number(f"{cut:.{decimals}f}")
    assert found is not None
    assert found.values(cut_off=True).meets(Range(value, value))
