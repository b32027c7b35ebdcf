"""Names, parameters and rules of a registry."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from actbench.errors import UsageError
from actbench.study.fields import Rule, integer
from actbench.study.registry import (
    Entry,
    Parameter,
    Registry,
    documented,
    parameter,
    parameters_of,
)


@dataclass(frozen=True)
class Window:
    """A window with two ends.

    More text.
    """

    low: int = parameter(1, integer(0))
    high: int = parameter(9, integer(0))


SHAPES: Registry[object] = Registry(
    "shape",
    point=Entry("a point", "no size"),
    line=Entry("a line", parameters={"length": Parameter(1.0)}),
    window=Entry(
        Window,
        parameters=parameters_of(Window),
        rule=Rule(lambda p: p["low"] <= p["high"], "low must be at most high"),
    ),
)


def bound(text: str) -> dict[str, object]:
    return SHAPES.bind(SHAPES.parse(text))


def test_an_entry_is_found_by_its_name() -> None:
    assert SHAPES["point"].target == "a point"
    assert list(SHAPES) == ["point", "line", "window"]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'line'"):
        SHAPES["lime"]
    with pytest.raises(UsageError, match="did you mean 'line'"):
        SHAPES.parse("lime:2")
    assert "did you mean 'solid'?" in str(SHAPES.unknown("sold", ["solid"]))


def test_an_alias_is_parsed_as_its_entry_and_is_suggested() -> None:
    shapes: Registry[object] = Registry(
        "shape",
        aliases={"segment": "line"},
        line=Entry("a line", parameters={"length": Parameter(1.0)}),
    )
    assert list(shapes) == ["line"]
    assert shapes.parse(" segment:2") == shapes.parse("line:2")
    with pytest.raises(UsageError, match="did you mean 'segment'"):
        shapes.parse("segmnt")


def test_an_import_path_is_refused_where_users_add_no_entries() -> None:
    with pytest.raises(UsageError, match="unknown shape 'mine'"):
        SHAPES.parse("mine:Shape")
    assert Registry[object]("shape", importable=True).parse("mine:Shape").imported


def test_parameters_are_bound_by_name_or_position_in_the_types_of_their_defaults() -> None:
    assert bound("line:2") == {"length": 2.0}
    assert bound("window:high=3") == {"high": 3}
    assert SHAPES["window"].defaults == {"low": 1, "high": 9}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("point:2", "shape 'point' takes no parameter, but was given 2"),
        ("window:width=2", "shape 'window' has no parameter 'width'"),
        ("window:low=-1", "shape 'window': low is -1; it must be an integer from 0"),
        ("window:low=10", "shape 'window': low must be at most high"),
        ("line:long", "shape 'line': length is 'long'; it must be a number"),
    ],
)
def test_a_parameter_that_a_rule_refuses_is_an_error_of_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        bound(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def made() -> Window:
    """Return a window."""
    return Window()


def test_the_help_of_a_documented_entry_is_the_first_line_of_the_docstring() -> None:
    assert documented(Window).help == "A window with two ends."
    assert documented(made).help == "a window."
