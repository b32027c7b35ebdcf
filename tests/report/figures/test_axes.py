"""What the axes of single figures show: their values, ranges and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from actbench.report.figures.curves import severity, slope
from actbench.report.figures.forest import differences
from actbench.report.figures.layers import gradient_depth, gradient_norms
from actbench.report.figures.registry import FIGURES
from actbench.report.figures.strip import corruption_strip
from actbench.report.figures.style import to_svg
from actbench.study.levels import severities
from actbench.study.study import Study
from helpers.drawn_studies import NOISES, SLOPES, TWELVE, study_of, texts
from helpers.made_studies import made_frames
from helpers.synthetic import synthetic_frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames


@pytest.mark.parametrize("name", ["severity", "attacks", "gradient_depth"])
def test_points_that_a_line_connects_are_above_each_other(
    name: str, drawn: dict[str, Figure]
) -> None:
    for axes in drawn[name].axes:
        lines = [line for line in axes.lines if line.get_linestyle() != "None"]
        assert len(lines) == len(SLOPES)
        assert len({tuple(line.get_xdata()) for line in lines}) == 1


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
        "σ = 0.1",
        "σ = 0.2",
        *(f"severity {level}" for level in range(1, 6)),
        "strength = 0.5",
        "strength = 0.7",
        "strength = 0.9",
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
