"""Paired differences over several settings (data × network × recipe), each with its own study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from actbench.analysis.metrics import metrics_for
from actbench.analysis.paired import CONFIDENCE, equivalence_p_value, paired_differences, paired_t
from actbench.analysis.sequential import LEVEL
from actbench.analysis.studies import compare_studies
from actbench.analysis.verdicts import IDENTICAL, NO_VERDICT, SEEDS_COLUMNS, decide

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from actbench.analysis.frames import Frames

SETTINGS_COLUMNS = (
    "activation",
    "baseline",
    "metric",
    "settings",
    "better",
    "worse",
    "equivalent",
    "undecided",
    "no_verdict",
    "positive",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_equivalence",
    "p_equivalence_holm",
    "margin",
    "between_sd",
    "prediction_low",
    "prediction_high",
    "verdict",
    "note",
)
MIN_SETTINGS = 3


@dataclass(frozen=True)
class OverSettings:
    """The result of ``over_settings``.

    Attributes:
        difference: the mean over settings.
        ci_low: the lower end of the interval for the mean over all settings like these.
        ci_high: its upper end.
        p_value: two-sided, for a mean of zero.
        between_sd: the standard deviation of the true differences between settings.
        prediction_low: the lower end of the interval for the difference that a study of the same
            size in one more setting would show.
        prediction_high: its upper end.
    """

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    between_sd: float
    prediction_low: float
    prediction_high: float


def over_settings(means: ArrayLike, errors: ArrayLike) -> OverSettings:
    """Return what differences in k settings say about settings like these.

    The model is a random intercept per setting: a setting's true difference is drawn about the mean
    over settings, and its seeds vary about that. The mean of the k means has the t interval with
    k − 1 degrees of freedom, which contains both sources; each setting counts once, however many
    seeds it has. With 3 to 10 settings it covers as it should, and the usual alternatives do not
    (docs/statistics.md has the simulation).

    ``between_sd`` is the part of the means' variance that seeds do not explain, at least 0
    (Hedges & Olkin 1985). The prediction interval is that of one more of k values drawn alike,
    m ± t(k − 1) s √(1 + 1/k).

    Args:
        means: the settings' mean paired differences, finite, shape (k,) with k at least 2.
        errors: their standard errors over seeds; NaN where there is one pair.
    """
    values = _without_rounding(means)
    seeds = np.asarray(errors, np.float64)
    found = paired_t(values)
    k = len(values)
    variance = float(found.deviation) ** 2
    known = seeds[np.isfinite(seeds)]
    explained = float((known**2).mean()) if len(known) else 0.0
    between = math.sqrt(max(variance - explained, 0.0))
    half = float(special.stdtrit(k - 1, (1 + CONFIDENCE) / 2)) * math.sqrt(variance * (1 + 1 / k))
    if not variance:  # no interval either
        half = between = math.nan
    centre = float(found.difference)
    return OverSettings(
        centre,
        float(found.ci_low),
        float(found.ci_high),
        float(found.p_value),
        between,
        centre - half,
        centre + half,
    )


def _without_rounding(means: ArrayLike) -> NDArray[np.float64]:
    """Return differences of accuracies without the spread that is only rounding."""
    values = np.asarray(means, np.float64)
    return paired_differences(1 + values, np.ones_like(values))


def compare_settings(studies: Mapping[str, Frames]) -> pd.DataFrame:
    """Return for each activation in how many settings it helps, and its difference over settings.

    A setting is one study. The counts are of the studies' own verdicts ("higher" and "lower" have
    none); ``positive`` counts positive differences. ``difference`` and its interval and tests are
    those of ``over_settings``, with Holm's correction over the activations of a metric, and the
    verdict follows the rule of ``compare`` at the level 0.05. From fewer than three settings there
    is no verdict over settings.

    Args:
        studies: two or more, as for ``compare_studies``.

    Returns:
        A row per activation × metric that is an accuracy, with the columns ``SETTINGS_COLUMNS``;
        accuracies are fractions.

    Raises:
        UsageError: as ``compare_studies``.
    """
    table = compare_studies(studies)
    metrics = {name: metric for name, metric in metrics_for(()).items() if metric.has_margin}
    grouped = table[table["metric"].isin(metrics)].groupby(["activation", "metric"], sort=False)
    rows = [_row(part) for _, part in grouped]
    frame = pd.DataFrame(rows)
    decided = decide(frame.assign(n=frame["settings"]), metrics, LEVEL)
    few = decided["settings"] < MIN_SETTINGS
    decided.loc[few, "verdict"] = NO_VERDICT
    decided.loc[few, "note"] = f"fewer than {MIN_SETTINGS} settings"
    return decided[list(SETTINGS_COLUMNS)]


def _row(part: pd.DataFrame) -> dict[str, Any]:
    """Return a row of ``compare_settings`` from the rows of ``compare_studies``."""
    first = part.iloc[0]
    usable = part[np.isfinite(part["difference"]) & (part["verdict"] != NO_VERDICT)]
    verdicts = part["verdict"].replace(IDENTICAL, "equivalent").value_counts()
    found: dict[str, Any] = {
        **{column: first[column] for column in ("activation", "baseline", "metric", "margin")},
        "settings": len(usable),
        **{word: int(verdicts.get(word, 0)) for word in ("better", "worse", "equivalent")},
        "undecided": int(verdicts.get("undecided", 0)),
        "no_verdict": int(verdicts.get(NO_VERDICT, 0)),
        "positive": int((usable["difference"] > 0).sum()),
        "note": "",
        **dict.fromkeys(
            ("difference", "ci_low", "ci_high", "p_value", "p_equivalence", "between_sd"), math.nan
        ),
        **dict.fromkeys(("prediction_low", "prediction_high", *SEEDS_COLUMNS), math.nan),
    }
    if len(usable) >= MIN_SETTINGS:
        means = usable["difference"].to_numpy(np.float64)
        result = over_settings(means, _errors(usable))
        found |= vars(result)
        margin = float(first["margin"])
        found["p_equivalence"] = float(equivalence_p_value(_without_rounding(means), margin))
    elif len(usable):
        found["difference"] = float(usable["difference"].mean())
    return found


def _errors(part: pd.DataFrame) -> NDArray[np.float64]:
    """Return the standard errors behind the studies' 95 % t intervals; NaN without one."""
    freedom = (part["n"] - 1).clip(lower=1).to_numpy(np.float64)
    half = (part["ci_high"] - part["ci_low"]).to_numpy(np.float64) / 2
    errors: NDArray[np.float64] = half / special.stdtrit(freedom, (1 + CONFIDENCE) / 2)
    return errors
