"""Figures as SVG and PNG: identical on every machine, with the values at the pointer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib as mpl

from actbench.report.figures.curves import training
from actbench.report.figures.forest import differences
from actbench.report.figures.layers import gradient_depth
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import to_png, to_svg
from helpers.drawn_studies import NOISES, SLOPES, study_of
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


def test_a_point_has_its_value_at_the_pointer(normal: Frames, pictures: dict[str, str]) -> None:
    picture = ElementTree.fromstring(pictures["severity"])
    titles = [part.text or "" for part in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(SLOPES) * len(NOISES) * 6
    chosen = normal.corruptions.query(
        "activation == 'leaky_relu:0.1' and corruption == 'shot_noise' and severity == 4"
    )["accuracy"]
    assert any(
        title.startswith(f"leaky_relu:0.1, severity 4: {100 * chosen.mean():.2f} % [")
        for title in titles
    )


def test_each_part_of_a_series_is_marked_with_its_number(pictures: dict[str, str]) -> None:
    picture = ElementTree.fromstring(pictures["severity"])
    marked = [part for part in picture.iter() if "data-series" in part.attrib]
    assert {part.attrib["data-series"] for part in marked} == {"0", "1", "2"}
    colours = {style.colour for style in series_styles(SLOPES).values()}
    for style in series_styles(SLOPES).values():
        parts = [part for part in marked if part.attrib["data-series"] == str(style.series)]
        text = "".join(ElementTree.tostring(part, "unicode") for part in parts)
        assert {colour for colour in colours if colour in text} == {style.colour}


def test_a_value_outside_the_axes_is_not_at_the_pointer() -> None:
    frames = synthetic_frames(study_of(seeds=2))
    assert "relu, conv1" in to_svg(gradient_depth(frames))
    frames.gradients.loc[frames.gradients["layer"] == "conv1", "grad_norm"] = 0.0
    assert "relu, conv1" not in to_svg(gradient_depth(frames))


def test_the_picture_is_the_same_twice(normal: Frames, drawn: dict[str, Figure]) -> None:
    again = differences(normal)
    assert again is not None
    first = drawn["differences"]
    assert to_svg(first) == to_svg(again) == to_svg(again)
    assert to_png(first) == to_png(again) == to_png(again)


def test_the_picture_does_not_depend_on_the_users_settings(
    normal: Frames, drawn: dict[str, Figure]
) -> None:
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "text.color": "red"}):
        figure = training(normal)
        assert figure is not None
        assert to_svg(figure) == to_svg(drawn["training"])
        assert to_png(figure) == to_png(drawn["training"])


def test_drawing_changes_no_setting(normal: Frames) -> None:
    before = dict(mpl.rcParams)
    figure = training(normal)
    assert figure is not None
    to_png(figure)
    assert dict(mpl.rcParams) == before


def test_svg_ids_are_unique_across_figures_and_all_references_resolve(
    pictures: dict[str, str],
) -> None:
    page = "".join(pictures.values())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(ids)


def test_svg_is_one_wellformed_element_without_date_or_comment(pictures: dict[str, str]) -> None:
    for text in pictures.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "<!--" not in text
        assert "<metadata" not in text


def test_png_holds_no_text(drawn: dict[str, Figure]) -> None:
    data = to_png(drawn["training"])
    assert data.startswith(b"\x89PNG")
    assert b"tEXt" not in data
    assert b"Software" not in data
