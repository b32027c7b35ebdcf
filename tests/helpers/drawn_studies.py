"""A study that has every figure, and the texts of a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl

from actbench.study.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SLOPES = ("relu", "leaky_relu:0.01", "leaky_relu:0.1")
NOISES = ("gaussian_noise", "shot_noise")
ATTACKS = ("fgsm", "pgd:steps=20,norm=l2")
TWELVE = (*SLOPES, *(f"my_package.activations:Swish{i}" for i in range(9)))


def study_of(**changes: object) -> Study:
    """Return a study that has every figure, with other values for some of its fields."""
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
    """Return the texts that a figure shows."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible()]
