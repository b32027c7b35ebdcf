"""The levels of a corruption spec, from its text."""

from __future__ import annotations

import pytest

from actbench.study.levels import (
    corruption_label,
    is_name,
    level_axis,
    level_labels,
    panel_label,
    severities,
)

FIVE = tuple(f"severity {level}" for level in range(1, 6))


@pytest.mark.parametrize(
    ("spec", "labels", "axis", "shown"),
    [
        ("gaussian_noise", FIVE, ("severity", tuple("12345")), "gaussian noise"),
        ("./a=b/my_file.py:stripes", FIVE, ("severity", tuple("12345")), None),
        ("mine:half_tone", FIVE, ("severity", tuple("12345")), None),
        ("my.pkg:Class.method", FIVE, ("severity", tuple("12345")), None),
        (
            "gaussian_noise:sigma=0.1/0.2/0.4",
            ("σ = 0.1", "σ = 0.2", "σ = 0.4"),
            ("σ", ("0.1", "0.2", "0.4")),
            "gaussian noise (σ = 0.1/0.2/0.4)",
        ),
        ("shot_noise:rate=60", ("λ = 60",), ("λ", ("60",)), "shot noise (λ = 60)"),
        (
            "fog:decay=3,strength=0.2/0.5",
            ("decay = 3, strength = 0.2", "decay = 3, strength = 0.5"),
            ("strength", ("0.2", "0.5")),
            "fog (decay = 3, strength = 0.2/0.5)",
        ),
        (
            "fog:decay=3/2,strength=0.2/1e-05",
            ("decay = 3, strength = 0.2", "decay = 2, strength = 1e-05"),
            ("decay, strength", ("3, 0.2", "2, 1e-05")),
            "fog (decay = 3/2, strength = 0.2/1e-05)",
        ),
        (
            "spatter:mud=true,strength=1",
            ("mud = true, strength = 1",),
            ("mud, strength", ("true, 1",)),
            "spatter (mud = true, strength = 1)",
        ),
    ],
)
def test_levels_are_named_by_what_differs_between_them(
    spec: str, labels: tuple[str, ...], axis: tuple[str, tuple[str, ...]], shown: str | None
) -> None:
    assert level_labels(spec) == labels
    assert level_axis(spec) == axis
    assert severities(spec) == tuple(range(1, len(labels) + 1))
    assert corruption_label(spec) == (shown or spec)
    assert is_name(spec) == (spec == "gaussian_noise")


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("gaussian_noise:sigma=0.1/0.2", "gaussian noise"),
        ("gaussian_noise:sigma=0.1", "gaussian noise"),
        ("fog:decay=3,strength=0.2/0.5", "fog (decay = 3)"),
        ("mine:half_tone", "mine:half_tone"),
    ],
)
def test_a_panel_is_named_by_what_its_axis_does_not_show(spec: str, label: str) -> None:
    assert panel_label(spec) == label


def test_a_value_without_a_name_is_a_level_too() -> None:
    assert severities("gaussian_noise:0.1/.2/3e-1") == (1, 2, 3)
    assert severities("jpeg_compression:90") == (1,)
