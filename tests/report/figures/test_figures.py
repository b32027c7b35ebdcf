"""Figures: each whose data exist, complete, readable, with its n."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from actbench.report.figures.curves import severity
from actbench.report.figures.forest import differences
from actbench.report.figures.layers import inactive_units
from actbench.report.figures.registry import FIGURES, caption, figures
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import INK, MAX_NAME_LENGTH, shorten, to_svg
from helpers.drawn_studies import NOISES, SLOPES, TWELVE, study_of, texts
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames

ALL = set(FIGURES)
HOSTILE = ("relu", "a:<script>alert(1)</script>|$x_1$&\"'-->", "b:" + "長い" * 149)


def test_a_normal_study_has_every_figure_with_its_n(drawn: dict[str, Figure]) -> None:
    assert set(drawn) == ALL
    for figure in drawn.values():
        assert re.search(r"n = 3 (seeds|pairs)", figure.get_suptitle())


def test_every_caption_has_its_n(normal: Frames) -> None:
    assert all(re.search(r"n = 3 (seeds|pairs)\.$", caption(name, normal)) for name in FIGURES)


def test_every_axis_has_a_label(drawn: dict[str, Figure]) -> None:
    for name, figure in drawn.items():
        shown = texts(figure)
        wanted = {
            "differences": ["difference, points (right is better)"],
            "corruption_differences": ["difference, points", "all corruptions", "shot noise"],
            "severity": ["severity", "test accuracy, %"],
            "attacks": ["ε", "1/255", "8/255", "test accuracy, %"],
            "training": ["epoch", "mean training loss, nats", "test accuracy, %"],
            "inactive_units": ["inactive units, %"],
            "slope": ["negative slope (0 is ReLU)", "clean accuracy, %", "corrupted accuracy, %"],
        }.get(name, [])
        assert set(wanted) <= set(shown)


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_nothing_is_drawn_outside_the_picture(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    whole = figure.bbox
    boxes = [part.get_window_extent() for part in (figure._suptitle, *figure.legends)]  # type: ignore[attr-defined]
    for box in (*boxes, *(axes.get_tightbbox() for axes in figure.axes)):
        assert whole.x0 - 1 <= box.x0 < box.x1 <= whole.x1 + 1
        assert whole.y0 - 1 <= box.y0 < box.y1 <= whole.y1 + 1


def test_the_legend_covers_no_axes(drawn: dict[str, Figure]) -> None:
    for figure in drawn.values():
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_an_activation_has_one_colour_in_all_figures(drawn: dict[str, Figure]) -> None:
    wanted = {name: style.colour for name, style in series_styles(SLOPES).items()}
    assert wanted["relu"] == INK
    for figure in drawn.values():
        for legend in figure.legends:
            handles = zip(legend.get_texts(), legend.legend_handles, strict=True)
            assert {text.get_text(): handle.get_color() for text, handle in handles} == wanted  # type: ignore[union-attr]


def test_its_colour_does_not_depend_on_which_others_have_a_result() -> None:
    study = study_of()
    failed = {("leaky_relu:0.01", seed): "diverged" for seed in study.seeds}
    figure = severity(synthetic_frames(study, failed=failed))
    (legend,) = figure.legends
    colours = [handle.get_color() for handle in legend.legend_handles]
    assert colours == [INK, series_styles(["leaky_relu:0.1"])["leaky_relu:0.1"].colour]


@pytest.mark.parametrize(
    ("changes", "failed", "missing"),
    [
        (
            {"seeds": 1, "epochs": 1, "corruptions": ()},
            {},
            ("severity", "corruption_differences"),
        ),
        (
            {"activations": ("relu",)},
            {},
            ("differences", "replication", "corruption_differences", "slope"),
        ),
        pytest.param(
            {"corruptions": (), "epochs": 1},
            {},
            ("severity", "corruption_differences"),
            marks=pytest.mark.slow,
        ),
        pytest.param({"epochs": 2, "seeds": 2}, {}, (), marks=pytest.mark.slow),
        pytest.param({"activations": TWELVE, "seeds": 2}, {}, (), marks=pytest.mark.slow),
        ({"seeds": 2}, {("relu", 0): "diverged", ("leaky_relu:0.1", 1): "crashed"}, ()),
        pytest.param(
            {"seeds": 1},
            {("relu", 0): "diverged"},
            ("differences", "replication", "corruption_differences"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"activations": ("relu", "gelu", "leaky_relu:0.1")},
            {},
            ("slope",),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"epochs": 30, "corruptions": NOISES[:1]},
            {},
            ("corruption_differences",),
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_an_unusual_study_has_the_figures_that_its_data_allow(
    changes: dict[str, object], failed: dict[tuple[str, int], str], missing: tuple[str, ...]
) -> None:
    found = figures(synthetic_frames(study_of(**changes), failed=failed))
    drawn = {name: figure for name, figure in found.items() if not isinstance(figure, str)}
    assert set(drawn) == ALL - set(missing)
    for figure in drawn.values():
        assert "nan" not in " ".join(texts(figure)).lower()


def test_without_any_result_there_are_sentences_in_place_of_figures() -> None:
    study = study_of()
    failed = {(trial.activation, trial.seed): "crashed" for trial in study.trials()}
    drawn = figures(synthetic_frames(study, failed=failed))
    assert set(drawn) == ALL - {"slope"}
    for name in ("differences", "corruption_differences"):
        assert "no seed has a result for both" in str(drawn.pop(name))
    assert "No published difference was measured" in str(drawn.pop("replication"))
    assert set(drawn.values()) == {"There is nothing to draw yet, as no trial has a result."}


def test_without_an_inactive_unit_there_is_a_sentence() -> None:
    frames = synthetic_frames(study_of(seeds=1))
    frames.inactive["inactive_fraction"] = 0.0
    assert inactive_units(frames) == "No unit was inactive in any trial."


def test_if_trials_failed_each_activation_shows_its_own_n() -> None:
    frames = synthetic_frames(study_of(), failed={("relu", 0): "diverged"})
    by_severity, paired = severity(frames), differences(frames)
    assert "n = 2 to 3 seeds" in by_severity.get_suptitle()
    assert "relu (n = 2)" in texts(by_severity)
    assert "n = 2 pairs" in paired.get_suptitle()


def test_hostile_names_are_drawn_as_they_are() -> None:
    drawn = figures(
        synthetic_frames(study_of(activations=(*SLOPES[:2], *HOSTILE[1:]), seeds=2, epochs=1))
    )
    for name, figure in drawn.items():
        shown = texts(figure)
        assert not any(len(text) > 120 for text in shown)
        assert name in ("slope", "replication") or shorten(HOSTILE[1]) in shown
        parts = ElementTree.fromstring(to_svg(figure)).iter()
        assert not any(part.tag.endswith("script") for part in parts)


def test_long_names_are_shortened_in_the_middle_and_stay_distinct() -> None:
    names = ("a" * 300 + ":0.1", "a" * 300 + ":0.2", "a" * 200 + ":0.2")
    labels = [style.label for style in series_styles(names).values()]
    assert labels[0] == "a" * 13 + "…" + "a" * 8 + ":0.1"
    assert len(set(labels)) == 3
    assert all(len(label) <= MAX_NAME_LENGTH for label in labels)
