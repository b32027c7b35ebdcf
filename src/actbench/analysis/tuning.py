"""How far the comparisons of a study depend on which settings its tuning chose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from actbench.analysis.frames import Frames

TUNING_COLUMNS = (
    "study",
    "activation",
    "baseline",
    "metric",
    "learning_rate",
    "weight_decay",
    "n",
    "mean",
    "difference",
    "ci_low",
    "ci_high",
    "p_holm",
    "verdict",
    "same_verdict",
)


def compare_tuning_studies(frames: Frames) -> pd.DataFrame:
    """Return the primary comparisons with the settings that each tuning study chose.

    Args:
        frames: the study, with the settings of its first tuning study, and in ``retuned`` the same
            with those of the further ones.

    Returns:
        A row per metric × activation × tuning study, these counted from 1, with ``TUNING_COLUMNS``:
        the activation's setting and mean, and the paired difference from the baseline with its own
        setting of the same tuning study. ``same_verdict`` is whether the verdict is that of the
        first study. Rows of the baseline have no difference. Empty without further studies.
    """
    if not frames.retuned:
        return pd.DataFrame(columns=list(TUNING_COLUMNS))
    rows = []
    for number, part in enumerate((frames, *frames.retuned), start=1):
        means = part.summary.set_index("activation")
        compared = part.primary_comparisons.set_index(["activation", "metric"])
        for metric in frames.primary_metrics:
            for activation in means.index:
                row = {
                    "study": number,
                    "activation": activation,
                    "baseline": part.study.baseline,
                    "metric": metric,
                    "learning_rate": part.study.learning_rate_of(activation),
                    "weight_decay": part.study.weight_decay_of(activation),
                    "n": part.with_result(activation),
                    "mean": means.loc[activation, f"{metric}_mean"],
                    "verdict": "",
                }
                if (activation, metric) in compared.index:
                    found = compared.loc[activation, metric]
                    row |= found.reindex([*TUNING_COLUMNS[8:13], "n"]).to_dict()
                rows.append(row)
    table = pd.DataFrame(rows, columns=list(TUNING_COLUMNS))
    order = {name: i for i, name in enumerate(frames.study.activations)}
    table = table.sort_values(
        ["metric", "activation", "study"],
        key=lambda column: column.map(order) if column.name == "activation" else column,
        kind="stable",
        ignore_index=True,
    )
    first = table.groupby(["metric", "activation"])["verdict"].transform("first")
    return table.assign(same_verdict=table["verdict"] == first)
