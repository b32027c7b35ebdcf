"""What a study measures, as the comparisons and the tables need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Metric:
    """One column of ``trials.csv`` as the comparison and the tables need to know it.

    Attributes:
        name: the column.
        label: what people call it, in the middle of a sentence.
        direction: which values are better; with "none" a verdict says higher or lower instead.
        has_margin: whether a difference below the equivalence margin is of no practical interest.
            The margin is stated in accuracy, so only accuracies and their differences have it.
        kind: "fraction" where people read percent (points, for a difference), else "number".
    """

    name: str
    label: str
    direction: Literal["higher", "lower", "none"]
    has_margin: bool = False
    kind: Literal["fraction", "number"] = "number"


_METRICS = (
    Metric("clean_accuracy", "clean accuracy", "higher", has_margin=True, kind="fraction"),
    Metric("clean_loss", "clean loss", "lower"),
    Metric("clean_ece", "calibration error", "lower", kind="fraction"),
    Metric("corrupted_accuracy", "corrupted accuracy", "higher", has_margin=True, kind="fraction"),
    Metric("accuracy_drop", "accuracy drop", "lower", has_margin=True, kind="fraction"),
    Metric("grad_norm_first", "first-layer gradient norm", "none"),
    Metric("grad_norm_ratio", "gradient norm ratio, first to last layer", "none"),
    Metric("inactive_fraction", "inactive units", "none", kind="fraction"),
    Metric("logit_margin", "logit margin", "none"),
    Metric("input_gradient_norm", "input gradient norm", "none"),
)


def metrics_for(corruptions: Sequence[str]) -> dict[str, Metric]:
    """Return the metrics of a study by name, in the order of its tables.

    Args:
        corruptions: single corruptions, suites already unfolded; each adds the metric
            ``accuracy_<corruption>``, its accuracy averaged over severities.
    """
    each = (
        Metric(
            f"accuracy_{name}",
            f"accuracy under {name.replace('_', ' ')}",
            "higher",
            has_margin=True,
            kind="fraction",
        )
        for name in corruptions
    )
    return {metric.name: metric for metric in (*_METRICS, *each)}
