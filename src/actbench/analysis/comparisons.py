"""Paired comparisons of activations over seeds: data frames in, intervals and verdicts out.

No I/O and no random numbers. The formulas are in ``paired``, ``matched``, ``planning`` and
``signed_rank``, the decision rules in ``verdicts``. docs/statistics.md explains them to users.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actbench.analysis.matched import matched_difference
from actbench.analysis.paired import (
    detectable_effect,
    equivalence_p_value,
    paired_differences,
    paired_t,
)
from actbench.analysis.planning import seeds_needed
from actbench.analysis.sequential import LEVEL
from actbench.analysis.signed_rank import signed_rank
from actbench.analysis.trial_matrix import TrialMatrix
from actbench.analysis.verdicts import SEEDS_COLUMNS, decide, judge_by_ranks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.metrics import Metric

COMPARISON_COLUMNS = (
    "activation",
    "baseline",
    "metric",
    "n",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_equivalence",
    "margin",
    "pair_correlation",
    "minimum_detectable_effect",
    "seeds_needed",
    "verdict",
    "level",
    "note",
    "p_equivalence_holm",
    "seeds_needed_low",
    "seeds_needed_high",
    "p_wilcoxon",
    "p_wilcoxon_holm",
    "verdict_wilcoxon",
)


def compare(
    values: pd.DataFrame,
    *,
    baseline: str,
    metrics: Mapping[str, Metric],
    margin: float = 0.005,
    level: float = LEVEL,
    tests: int | None = None,
) -> pd.DataFrame:
    """Return every activation's paired difference from the baseline in every metric, and a verdict.

    The verdict of a row, from its corrected difference test and its corrected equivalence test:

    - "equivalent": ``p_equivalence_holm`` ≤ level, whether or not the difference is significant (a
      significant difference inside the margin does not matter), or the values are identical in all
      of at least two pairs;
    - "better" or "worse", by the metric's direction, if ``p_holm`` ≤ level; "higher" or "lower" for
      a metric without a direction;
    - "undecided" otherwise;
    - "no verdict" with fewer than two pairs, or if the difference cannot be estimated.

    Args:
        values: one row per trial with the columns ``activation``, ``seed`` and one per metric; NaN
            if the trial has no value (it diverged). In any order.
        baseline: the activation that all others are compared with.
        metrics: by column; a metric without a column counts as without values.
        margin: the largest difference in accuracy that is of no practical interest, above 0.
        level: the level of every test, in (0, 1); ``spending_level`` for an interim analysis.
        tests: the number of tests that ``seeds_needed`` assumes are corrected for one another;
            the number of activations compared unless given. ``decide`` may correct over more.

    Returns:
        A row per activation × metric, activations other than the baseline in order of first
        appearance, with the columns ``COMPARISON_COLUMNS``. ``n`` counts the pairs: seeds for which
        both have a finite value. ``difference`` is the mean over pairs of activation − baseline,
        ``ci_low`` and ``ci_high`` its 95 % t interval (whatever ``level``), ``p_value`` the
        two-sided paired t-test's, ``p_holm`` the same after Holm's correction over the activations
        tested in this metric, ``p_equivalence`` that of two one-sided tests against ± ``margin``
        (see ``paired`` for differences without spread), ``p_equivalence_holm`` the same after
        Holm's correction. ``pair_correlation`` is Pearson's, from three pairs.
        ``minimum_detectable_effect`` (in the metric's unit) is what this many pairs show with 80 %
        power, at ``level`` without Holm's correction and with the deviation seen for the true one.
        ``seeds_needed`` (nullable integer) is how many pairs lead to a verdict with 80 % power
        (see ``planning``), between ``seeds_needed_low`` and ``_high`` by the deviation's 80 %
        interval; for an undecided row all three are above ``n``. What could not be computed is NaN,
        and ``note`` gives the reason. ``verdict`` is one of ``VERDICTS``. From six pairs on,
        ``p_wilcoxon`` is the p-value of Wilcoxon's signed-rank test, ``p_wilcoxon_holm`` the same
        after Holm's correction, and ``verdict_wilcoxon`` its verdict ("undecided" if it finds no
        difference; "no verdict" if this few pairs cannot reach ``level``).

        A metric with ``matched`` is compared by ``matched_difference`` of its two columns.

    Raises:
        ValueError: ``margin`` or ``level`` is out of range, or a trial appears twice.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}; it must be a number above 0")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must be between 0 and 1")
    trials = TrialMatrix(values, metrics)
    others = [activation for activation in trials.activations if activation != baseline]
    tests = len(others) if tests is None else tests
    rows = [
        _compare_pair(trials, other, baseline, metric, margin, level, tests)
        for other in others
        for metric in metrics.values()
    ]
    for name, metric in metrics.items():
        judge_by_ranks([row for row in rows if row["metric"] == name], metric, level)
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    corrected = ("p_equivalence_holm", "p_wilcoxon", "p_wilcoxon_holm")
    numbers = dict.fromkeys((*COMPARISON_COLUMNS[4:13], "level", *corrected), "float64")
    table = table.astype({**numbers, "n": "int64", **dict.fromkeys(SEEDS_COLUMNS, "Int64")})
    return decide(table, metrics, level)


def _compare_pair(
    trials: TrialMatrix,
    activation: str,
    baseline: str,
    metric: Metric,
    margin: float,
    level: float,
    tests: int,
) -> dict[str, Any]:
    """Return a row of ``compare`` without the columns that ``decide`` adds."""
    both = trials.pairs(activation, baseline, metric)
    sides = [
        (trials.column(activation, name)[both], trials.column(baseline, name)[both])
        for name in metric.columns
    ]
    ours, theirs = sides[0]
    n = len(ours)
    differences = [paired_differences(*side) for side in sides]
    notes = trials.left_out(activation, baseline, metric) if n else []
    correlation = effect = equivalence = math.nan
    needed: tuple[float, ...] = (math.nan,) * 3
    ranks = signed_rank(() if metric.matched else differences[0])
    freedom = n - 1
    if metric.matched and n:
        matched = matched_difference(differences[0], differences[1], margin)
        test, equivalence, freedom = matched.test, matched.p_equivalence, matched.freedom
        if matched.reason:
            notes.append(matched.reason)
    else:
        test = paired_t(differences[0])
        if metric.has_margin:
            equivalence = float(equivalence_p_value(differences[0], margin))
    mean, deviation = float(test.difference), float(test.deviation)
    if n == 0:
        notes.insert(0, "no seed has a finite value for both")
    elif n == 1:
        notes.insert(0, "one pair only, so no interval and no test")
    elif deviation == 0 and mean == 0:
        notes.insert(0, "identical in every pair")
        effect, needed = 0.0, (2, 2, 2)
    elif deviation == 0:
        notes.insert(
            0,
            "the same difference in every pair, so its spread is unknown: sign-flip test, "
            "not t-test",
        )
        one_sided = math.ceil(math.log2(tests / level))
        needed = (one_sided if metric.has_margin and abs(mean) < margin else one_sided + 1,) * 3
    elif deviation > 0:
        effect = detectable_effect(n, level, freedom) * deviation
        if math.isnan(effect):
            notes.append("at this level so few pairs detect nothing")
        if metric.has_margin:
            found = seeds_needed(margin, deviation, freedom + 1, tests, level)
            needed = (found.number, found.low, found.high)
        if math.inf in needed:
            notes.append("more than a million seeds needed")
            needed = tuple(number if math.isfinite(number) else math.nan for number in needed)
    if n >= 3 and np.std(ours) > 0 and np.std(theirs) > 0:
        correlation = float(np.corrcoef(ours, theirs)[0, 1])
    elif n >= 2:
        notes.append(
            "two pairs always correlate at ±1, so no correlation is given"
            if n == 2
            else "no pair correlation, as one side does not vary"
        )
    if not metric.has_margin:
        notes.append("no natural margin, so equivalence is not tested")
        needed = (math.nan,) * 3
    return {
        "activation": activation,
        "baseline": baseline,
        "metric": metric.name,
        "n": n,
        "difference": mean,
        "ci_low": float(test.ci_low),
        "ci_high": float(test.ci_high),
        "p_value": float(test.p_value),
        "p_equivalence": equivalence,
        "margin": margin if metric.has_margin else math.nan,
        "pair_correlation": correlation,
        "minimum_detectable_effect": effect,
        **dict(zip(SEEDS_COLUMNS, needed, strict=True)),
        "level": level,
        "note": "; ".join(notes),
        "p_wilcoxon": ranks.p_value,
        "ranks": ranks,
    }
