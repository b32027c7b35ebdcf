"""The style of an activation: the same in every study, and different from the others of its own."""

from __future__ import annotations

import pytest

from actbench.report.figures.series import HUES, STYLES, SeriesStyle, series_styles
from actbench.report.figures.style import INK
from actbench.study.activations import ACTIVATIONS

SLOPES = ("relu", *(f"leaky_relu:{slope}" for slope in ("0.01", "0.05", "0.1", "0.2", "0.3")))
TWENTY = ("relu", *(f"my_package.activations:Swish{i}" for i in range(19)))


def look(style: SeriesStyle) -> tuple[object, ...]:
    return style.colour, style.marker, style.line


@pytest.mark.parametrize("name", [*SLOPES, "gelu", "mine:Act", "leaky_relu:0.123"])
def test_an_activation_looks_the_same_in_every_study(name: str) -> None:
    alone = series_styles([name])[name]
    for others in (("relu", "silu"), ("tanh",), SLOPES, ("prelu", "elu", "mish")):
        beside = series_styles([*dict.fromkeys((*others, name))])[name]
        assert look(beside) == look(alone)


def test_relu_is_black_whatever_the_baseline_is() -> None:
    assert series_styles(["gelu", "relu"])["relu"].colour == INK
    assert series_styles(["gelu", "tanh"])["gelu"].colour in HUES


def test_the_usual_slopes_have_a_hue_each() -> None:
    assert len({style.colour for style in series_styles(SLOPES).values()}) == 6


@pytest.mark.parametrize("names", [TWENTY, tuple(ACTIVATIONS)[:20]], ids=["own", "built-in"])
def test_all_activations_of_a_study_look_different(names: tuple[str, ...]) -> None:
    of = series_styles(names)
    assert list(of) == list(names)
    assert [style.series for style in of.values()] == list(range(len(names)))
    assert len({(style.colour, style.marker) for style in of.values()}) == len(names)
    assert len({(style.colour, str(style.line)) for style in of.values()}) == len(names)


def test_an_unknown_activation_gives_way_to_a_common_one_of_the_same_style() -> None:
    unknown = [f"m:A{i}" for i in range(STYLES - 5)]
    of = series_styles([*unknown, *SLOPES])
    for name in SLOPES:
        assert look(of[name]) == look(series_styles([name])[name])
    assert len({look(style) for style in of.values()}) == len(of)


def test_more_activations_than_styles_share_some() -> None:
    of = series_styles([f"m:A{i}" for i in range(STYLES + 5)])
    assert len({look(style) for style in of.values()}) == STYLES
