"""The metrics of a study, with the properties that comparisons and tables need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from actbench.study.levels import corruption_label

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Metric:
    """A column of values by trial, with what comparisons and tables need to know of it.

    Attributes:
        name: the column.
        label: its name in a sentence.
        direction: which values are better; with "none" a verdict is "higher" or "lower".
        has_margin: whether a difference below the equivalence margin is of no practical interest.
            The margin is stated in accuracy, so only accuracies and their differences have it.
        kind: "fraction" if shown in percent (a difference in points), else "number".
        of_corruptions: whether it needs corrupted images.
        guarded: whether masked gradients can raise the value, so that it needs a warning.
        matched: an outcome and a covariate, both columns: activations are compared in the outcome
            at equal values of the covariate. Empty for a plain difference.
    """

    name: str
    label: str
    direction: Literal["higher", "lower", "none"]
    has_margin: bool = False
    kind: Literal["fraction", "number"] = "number"
    of_corruptions: bool = False
    guarded: bool = False
    matched: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that activations are compared by, that of the difference first."""
        return self.matched or (self.name,)


_METRICS = (
    Metric("clean_accuracy", "clean accuracy", "higher", has_margin=True, kind="fraction"),
    Metric("clean_loss", "clean loss", "lower"),
    Metric("clean_ece", "calibration error", "lower", kind="fraction"),
    Metric(
        "corrupted_accuracy",
        "corrupted accuracy",
        "higher",
        has_margin=True,
        kind="fraction",
        of_corruptions=True,
    ),
    Metric(
        "accuracy_drop",
        "accuracy drop",
        "lower",
        has_margin=True,
        kind="fraction",
        of_corruptions=True,
    ),
    Metric(
        "matched_accuracy",
        "corrupted accuracy at matched clean accuracy",
        "higher",
        has_margin=True,
        kind="fraction",
        of_corruptions=True,
        matched=("corrupted_accuracy", "clean_accuracy"),
    ),
    Metric("mce", "mCE, %", "lower", of_corruptions=True),
    Metric("relative_mce", "relative mCE, %", "lower", of_corruptions=True),
    Metric("grad_norm_first", "first-layer gradient norm", "none"),
    Metric("grad_norm_ratio", "gradient norm ratio, first to last layer", "none"),
    Metric("inactive_fraction", "inactive units", "none", kind="fraction"),
    Metric("logit_margin", "logit margin", "none"),
    Metric("input_gradient_norm", "input gradient norm", "none"),
)


def metrics_for(
    corruptions: Sequence[str], attacks: Sequence[str] = (), epsilons: Sequence[float] = ()
) -> dict[str, Metric]:
    """Return the metrics of a study by name, in the order of its tables.

    Args:
        corruptions: single corruptions, no suites; each adds the metric
            ``accuracy_<corruption>``, its accuracy averaged over severities.
        attacks: canonical specs; each adds, for each ε, the metric that ``robust_metric`` names.
        epsilons: the radii of the attacks.
    """
    each = (
        Metric(
            f"accuracy_{name}",
            f"accuracy under {corruption_label(name)}",
            "higher",
            has_margin=True,
            kind="fraction",
        )
        for name in corruptions
    )
    robust = (
        Metric(
            robust_metric(attack, epsilon),
            f"accuracy under {attack} at ε = {epsilon_text(epsilon)}",
            "higher",
            has_margin=True,
            kind="fraction",
            guarded=True,
        )
        for attack in attacks
        for epsilon in epsilons
    )
    return {metric.name: metric for metric in (*_METRICS, *each, *robust)}


def robust_metric(attack: str, epsilon: float) -> str:
    """Return the name of the metric that is the accuracy under an attack at ε."""
    return f"robust_accuracy_{attack}_{epsilon_text(epsilon)}"


def epsilon_text(epsilon: float) -> str:
    """Return ε as text: ``8/255`` for integer steps of an 8-bit pixel, else ``0.1``."""
    steps = round(255 * epsilon)
    return f"{steps}/255" if epsilon == steps / 255 and steps % 255 else f"{epsilon!r}"
