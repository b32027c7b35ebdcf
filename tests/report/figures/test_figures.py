"""Figures: each whose data exist, identical on every machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from actbench.report.figures.forest import differences
from actbench.report.figures.registry import (
    FIGURES,
    caption,
    corruption_strip,
    figures,
    gradient_depth,
    gradient_norms,
    inactive_units,
    severity,
    slope,
    training,
)
from actbench.report.figures.series import series_styles
from actbench.report.figures.style import INK, MAX_NAME_LENGTH, shorten, to_png, to_svg
from actbench.study.levels import severities
from actbench.study.study import Study
from helpers.made_studies import made_frames
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames

SLOPES = ("relu", "leaky_relu:0.01", "leaky_relu:0.1")
NOISES = ("gaussian_noise", "shot_noise")
ATTACKS = ("fgsm", "pgd:steps=20,norm=l2")
ALL = set(FIGURES)
TWELVE = (*SLOPES, *(f"my_package.activations:Swish{i}" for i in range(9)))
HOSTILE = ("relu", "a:<script>alert(1)</script>|$x_1$&\"'-->", "b:" + "長い" * 149)


def study_of(**changes: object) -> Study:
    values = {
        "activations": SLOPES,
        "seeds": 3,
        "epochs": 3,
        "corruptions": NOISES,
        "attacks": ATTACKS,
        "claim": "layeract-resnet32",
    }
    values.update(changes)
    return Study(**values)  # type: ignore[arg-type]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible()]


@pytest.fixture(scope="module")
def normal() -> Frames:
    return synthetic_frames(study_of())


@pytest.fixture(scope="module")
def drawn(normal: Frames) -> dict[str, Figure]:
    return figures(normal)


@pytest.fixture(scope="module")
def pictures(drawn: dict[str, Figure]) -> dict[str, str]:
    return {name: to_svg(figure) for name, figure in drawn.items()}


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


@pytest.mark.parametrize("name", ["severity", "attacks", "gradient_depth"])
def test_points_that_a_line_connects_are_above_each_other(
    name: str, drawn: dict[str, Figure]
) -> None:
    for axes in drawn[name].axes:
        lines = [line for line in axes.lines if line.get_linestyle() != "None"]
        assert len(lines) == len(SLOPES)
        assert len({tuple(line.get_xdata()) for line in lines}) == 1


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


def test_vanished_and_infinite_gradients_raise_no_error() -> None:
    frames = synthetic_frames(study_of())
    relu = frames.gradients["activation"] == "relu"
    frames.gradients.loc[relu, "grad_norm"] = 0.0
    frames.gradients.loc[relu & (frames.gradients["seed"] == 1), "grad_norm"] = float("inf")
    assert gradient_norms(frames)
    assert gradient_depth(frames)
    frames.gradients["grad_norm"] = 0.0
    assert gradient_norms(frames)
    assert gradient_depth(frames) == "Every gradient norm of the last epoch is zero."


def test_a_deep_network_shows_nine_layers_by_epoch_and_all_by_depth() -> None:
    layers = tuple(f"blocks.{i}.conv" for i in range(40))
    frames = synthetic_frames(study_of(seeds=2, epochs=1), layers=layers)
    by_epoch, by_depth = gradient_norms(frames), gradient_depth(frames)
    assert by_epoch is not None
    assert by_depth is not None
    assert len(by_epoch.axes) == 9
    assert "9 of 40 layers" in by_epoch.get_suptitle()
    (axes,) = by_depth.axes
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_xdata().size == 40  # type: ignore[union-attr]


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


def test_an_accuracy_axis_spans_at_least_ten_points() -> None:
    frames = synthetic_frames(study_of())
    frames.corruptions["accuracy"] = 0.97
    frames.trials["clean_accuracy"] = 0.97
    figure = severity(frames)
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert high - low >= 10
    assert low < 97 < high


def test_differences_reach_twice_the_margin_and_are_not_squeezed_by_one_wide_interval() -> None:
    frames = synthetic_frames(study_of(activations=TWELVE[:4]))
    columns = ["difference", "ci_low", "ci_high"]
    frames.comparisons[columns] = [1e-5, -1e-5, 2e-5]
    low, high = reach(frames)
    assert -low == high >= 1
    frames.comparisons[columns] = [0.01, 0.0, 0.02]
    frames.comparisons.loc[0, columns] = [0.01, -0.9, 0.9]
    _, high = reach(frames)
    assert high < 10


def test_differences_by_corruption_are_those_of_the_comparisons(normal: Frames) -> None:
    """Each in the panel of its activation and the row of its corruption, in points."""
    figure = FIGURES["corruption_differences"].target(normal)
    rows = ("clean_accuracy", "corrupted_accuracy", *(f"accuracy_{name}" for name in NOISES))
    of = normal.comparisons.set_index(["activation", "metric"])
    for axes, activation in zip(figure.axes, SLOPES[1:], strict=True):
        assert axes.get_title("left") == activation
        points = {tuple(line.get_xydata()[0]) for line in axes.lines if "\n" in str(line.get_gid())}
        wanted = {(100 * of.loc[(activation, m), "difference"], y) for y, m in enumerate(rows)}
        assert points == wanted
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["clean images", "all corruptions", "gaussian noise", "shot noise"]
    frames = synthetic_frames(study_of(corruptions=NOISES[:1]))
    one = FIGURES["corruption_differences"].target(frames)
    assert str(one).startswith("The study has one corruption")


def reach(frames: Frames) -> tuple[float, float]:
    figure = differences(frames)
    assert figure is not None
    return figure.axes[0].get_xlim()


def test_levels_are_named_by_value_on_the_axes_and_in_the_strip() -> None:
    names = ("gaussian_noise:sigma=0.1/0.2", "fog", "fog:decay=3,strength=0.5/0.7/0.9")
    study = Study(activations=("relu", "elu"), corruptions=names, seeds=3)
    grid = severity(synthetic_frames(study)).axes
    assert [axes.get_title("left") for axes in grid] == ["gaussian noise", "fog", "fog (decay = 3)"]
    assert [axes.get_xlabel() for axes in grid] == ["σ", "severity", "strength"]
    ticks = [[label.get_text() for label in axes.get_xticklabels()] for axes in grid]
    assert ticks == [
        ["clean", "0.1", "0.2"],
        ["clean", *"12345"],
        ["clean", "0.5", "0.7", "0.9"],
    ]
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    images = {(name, 0): image for name in names}
    images |= {(name, level): image for name in names for level in severities(name)}
    (axes,) = corruption_strip(images).axes
    shown = [text.get_text() for text in axes.texts]
    assert shown == [
        *("σ = 0.1", "σ = 0.2"),
        *(f"severity {level}" for level in range(1, 6)),
        *("strength = 0.5", "strength = 0.7", "strength = 0.9"),
    ]


def test_the_strip_shows_an_image_for_each_corruption_and_severity() -> None:
    images = {
        (name, severity): np.full((32, 32, 3), 40 * severity, dtype=np.uint8)
        for name in NOISES
        for severity in range(6)
    }
    figure = corruption_strip(images)
    (axes,) = figure.axes
    pixels = np.asarray(axes.images[0].get_array())
    shown = pixels[pixels[..., 3] > 0]
    assert len(shown) == 32 * 32 * len(images)
    assert set(shown[:, 0]) == {40 * severity for severity in range(6)}
    assert to_svg(figure) == to_svg(corruption_strip(images))
    assert {"clean", "severity 5", "gaussian noise"} <= set(texts(figure))
    assert "data:image/png;base64" in to_svg(figure)


def test_every_seeds_line_of_the_slope_figure_is_inside_its_frame() -> None:
    accuracies = {name: [0.97, 0.972, 0.968, 0.971, 0.45] for name in SLOPES}
    figure = slope(made_frames(accuracies))
    assert figure is not None
    for axes in figure.axes:
        low, high = axes.get_ylim()
        for line in axes.get_lines():
            drawn = np.asarray(line.get_ydata(), dtype=float)
            assert ((low <= drawn) & (drawn <= high)).all()
