"""Paired comparisons of activations over seeds: data frames in, intervals and verdicts out.

Nothing here reads, writes or draws random numbers. The formulas stand in ``paired``, ``sequential``
and ``variance``; the tables here apply them to data frames with one row per trial, and this module
is the door to them all. docs/statistics.md tells users the rules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from actbench.analysis.matched import matched_difference
from actbench.analysis.metrics import Metric, metrics_for
from actbench.analysis.paired import (
    CONFIDENCE,
    detectable_effect,
    equivalence_p_value,
    paired_differences,
    paired_t,
)
from actbench.analysis.planning import seeds_needed
from actbench.analysis.sequential import interim_analyses, spending_level
from actbench.analysis.signed_rank import signed_rank
from actbench.analysis.variance import variance_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "COMPARISON_COLUMNS",
    "NO_VERDICT",
    "SUMMARY_FIGURES",
    "VERDICTS",
    "Metric",
    "compare",
    "decide",
    "holm",
    "interim_analyses",
    "metrics_for",
    "spending_level",
    "summarise",
    "variance_sources",
]
NO_VERDICT = "no verdict"
IDENTICAL = "identical"
VERDICTS = ("better", "worse", "higher", "lower", "equivalent", "undecided", NO_VERDICT, IDENTICAL)
SUMMARY_FIGURES = ("mean", "std", "ci_low", "ci_high", "n")
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
_SEEDS = ["seeds_needed", "seeds_needed_low", "seeds_needed_high"]
# Beyond this a square overflows or loses its meaning, so a value is treated as infinite.
_MAX_VALUE = 1e100


def summarise(values: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """Return a row per activation: means, standard deviations and 95 % t intervals over seeds.

    Args:
        values: one row per trial with the columns ``activation``, ``seed`` and one per metric; NaN
            where the trial has no value.
        metrics: by column; a metric without a column counts as without values.

    Returns:
        Activations in order of first appearance with the columns ``activation``, ``n`` (trials with
        any finite value) and for each metric ``<metric>_mean``, ``_std`` (n − 1 in the
        denominator), ``_ci_low``, ``_ci_high`` and ``_n``: the trials with a finite value of this
        metric, on which the other four rest. NaN stands where these are too few: none for a mean,
        one for a spread.

    Raises:
        ValueError: a trial appears twice.
    """
    trials = _Trials(values, metrics)
    rows = []
    for activation in trials.activations:
        finite = {name: trials.finite(activation, name) for name in metrics}
        row: dict[str, object] = {"activation": activation, "n": 0}
        if finite:
            row["n"] = int(np.logical_or.reduce(list(finite.values())).sum())
        for name, present in finite.items():
            sample = trials.column(activation, name)[present]
            n = len(sample)
            mean, deviation, half_width = math.nan, math.nan, math.nan
            if n:
                mean = float(sample.mean())
            if n > 1:
                deviation = float(sample.std(ddof=1))
                quantile = float(special.stdtrit(n - 1, (1 + CONFIDENCE) / 2))
                half_width = quantile * deviation / math.sqrt(n)
            row[f"{name}_mean"] = mean
            row[f"{name}_std"] = deviation
            row[f"{name}_ci_low"] = mean - half_width
            row[f"{name}_ci_high"] = mean + half_width
            row[f"{name}_n"] = n
        rows.append(row)
    figures = [f"{name}_{figure}" for name in metrics for figure in SUMMARY_FIGURES]
    return pd.DataFrame(rows, columns=["activation", "n", *figures])


def compare(
    values: pd.DataFrame,
    *,
    baseline: str,
    metrics: Mapping[str, Metric],
    margin: float = 0.005,
    level: float = 0.05,
    tests: int | None = None,
) -> pd.DataFrame:
    """Return every activation's paired difference from the baseline in every metric, and a verdict.

    The verdict of a row, from its corrected difference test and its corrected equivalence test:

    - "equivalent": ``p_equivalence_holm`` ≤ level, whether or not there is a significant difference
      (one that is surely there and surely inside the margin does not matter), or the values are
      identical in all of at least two pairs;
    - "better" or "worse", by the metric's direction, where ``p_holm`` ≤ level; "higher" or "lower"
      for a metric without a better side;
    - "undecided" otherwise;
    - "no verdict" with fewer than two pairs, or where the difference cannot be estimated.

    Args:
        values: one row per trial with the columns ``activation``, ``seed`` and one per metric; NaN
            where the trial has no value (it diverged). Rows may come in any order.
        baseline: the activation that all others are compared with.
        metrics: by column; a metric without a column counts as without values.
        margin: the largest difference in accuracy that is of no practical interest, above 0.
        level: of every test, in (0, 1); ``spending_level`` gives it for a repeated look.
        tests: how many activations ``seeds_needed`` takes to be corrected for one another, where
            ``decide`` will correct over more than are compared here.

    Returns:
        A row per activation × metric, activations other than the baseline in order of first
        appearance, with the columns ``COMPARISON_COLUMNS``. ``n`` counts the pairs: seeds for which
        both have a finite value. ``difference`` is the mean over pairs of activation − baseline,
        ``ci_low`` and ``ci_high`` its 95 % t interval (whatever ``level``), ``p_value`` the
        two-sided paired t-test's, ``p_holm`` the same after Holm's correction over the activations
        tested in this metric, ``p_equivalence`` that of two one-sided tests against ± ``margin``
        (``paired`` tells what becomes of differences without spread), ``p_equivalence_holm`` the
        same after Holm's correction. ``pair_correlation`` is Pearson's, from three pairs.
        ``minimum_detectable_effect`` (in the metric's unit) is what this many pairs show with 80 %
        power, at ``level`` without Holm's correction and with the deviation seen for the true one.
        ``seeds_needed`` (nullable integer) is how many pairs lead to a verdict with 80 % power
        (see ``planning``), between ``seeds_needed_low`` and ``_high`` by the deviation's 80 %
        interval; for an undecided row all three are above ``n``. What could not be computed is NaN,
        and ``note`` says why in plain words. ``verdict`` is one of ``VERDICTS``. From six pairs on,
        ``p_wilcoxon`` is the p-value of Wilcoxon's signed-rank test, ``p_wilcoxon_holm`` the same
        after Holm's correction, and ``verdict_wilcoxon`` what it says ("undecided" where it finds
        no difference; "no verdict" where so few pairs cannot reach ``level``).

        A metric with ``matched`` is compared by ``matched_difference`` of its two columns.

    Raises:
        ValueError: ``margin`` or ``level`` is out of range, or a trial appears twice.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}; it must be a number above 0")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1")
    trials = _Trials(values, metrics)
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
    table = table.astype({**numbers, "n": "int64", **dict.fromkeys(_SEEDS, "Int64")})
    return decide(table, metrics, level)


def decide(table: pd.DataFrame, metrics: Mapping[str, Metric], level: float) -> pd.DataFrame:
    """Return the table of ``compare`` with Holm's correction over a metric's rows, and verdicts.

    The columns ``p_holm``, ``p_equivalence_holm`` and ``verdict`` are made anew, and the seeds that
    an undecided row needs are raised above its ``n``.
    """
    table = table.copy()
    families = [table["metric"] == name for name in table["metric"].unique()]
    for column, corrected in (("p_value", "p_holm"), ("p_equivalence", "p_equivalence_holm")):
        for rows in families:
            table.loc[rows, corrected] = holm(table.loc[rows, column].to_numpy(np.float64))
    table["verdict"] = [
        _verdict(row, metrics[row["metric"]], level) for row in table.to_dict("records")
    ]
    undecided = table["verdict"] == "undecided"
    for column in _SEEDS:
        more = table[column].clip(lower=table["n"] + 1)
        table[column] = table[column].where(~undecided, more)
    return table


def _compare_pair(
    trials: _Trials,
    activation: str,
    baseline: str,
    metric: Metric,
    margin: float,
    level: float,
    tests: int,
) -> dict[str, Any]:
    """Return a row of ``compare`` that still lacks what ``decide`` adds."""
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
    if metric.matched and n > 1:
        matched = matched_difference(differences[0], differences[1], margin)
        test, equivalence = matched.test, matched.p_equivalence
        notes += [matched.reason] * bool(matched.reason)
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
            "the same difference in every pair, so no spread to go by: sign-flip test, not t-test",
        )
        needed = (1 + math.ceil(math.log2(tests / level)),) * 3
    elif deviation > 0:
        effect = detectable_effect(n, level) * deviation
        if math.isnan(effect):
            notes.append("at this level so few pairs detect nothing")
        if metric.has_margin:
            found = seeds_needed(margin, deviation, n + 1 - len(sides), tests, level)
            needed = (found.number, found.low, found.high)
        if math.inf in needed:
            notes.append("more than a million seeds needed")
            needed = tuple(number if math.isfinite(number) else math.nan for number in needed)
    if n >= 3 and np.ptp(ours) > 0 and np.ptp(theirs) > 0:
        correlation = float(np.corrcoef(ours, theirs)[0, 1])
    elif n >= 2:
        notes.append(
            "two pairs have no correlation to speak of"
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
        **dict(zip(_SEEDS, needed, strict=True)),
        "level": level,
        "note": "; ".join(notes),
        "p_wilcoxon": ranks.p_value,
        "ranks": ranks,
    }


def holm(p_values: Floats) -> Floats:
    """Return Holm's step-down correction (Holm 1979) over those p-values that are not NaN.

    The i-th smallest of m is multiplied by m − i (from i = 0), then raised to the one before it and
    cut at 1. statsmodels' ``multipletests`` gives the same and serves the tests; it collects all
    garbage at every call, which took most of a report's time.
    """
    corrected = np.full_like(p_values, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return corrected


def _verdict(row: Mapping[Any, Any], metric: Metric, level: float) -> str:
    """Return the verdict of a row of ``compare``, by the rule that stands there."""
    if row["n"] < 2 or math.isnan(row["difference"]):
        return NO_VERDICT
    identical = row["difference"] == 0 and row["ci_low"] == row["ci_high"]
    if identical or row["p_equivalence_holm"] <= level:
        return "equivalent"
    if not row["p_holm"] <= level:
        return "undecided"
    return _direction(metric, higher=row["difference"] > 0)


def _direction(metric: Metric, *, higher: bool) -> str:
    if metric.direction == "none":
        return "higher" if higher else "lower"
    return "better" if higher == (metric.direction == "higher") else "worse"


def judge_by_ranks(family: list[dict[str, Any]], metric: Metric, level: float) -> None:
    """Add Wilcoxon's corrected p-value and verdict to all rows of ``compare`` in one metric.

    Each row's ``ranks`` (its ``SignedRank``) is taken away.
    """
    p_values = np.array([row["p_wilcoxon"] for row in family], dtype=np.float64)
    tests = int(np.isfinite(p_values).sum())
    for row, p_holm in zip(family, holm(p_values), strict=True):
        ranks = row.pop("ranks")
        row["p_wilcoxon_holm"] = p_holm
        row["verdict_wilcoxon"] = NO_VERDICT
        if p_holm <= level:
            row["verdict_wilcoxon"] = _direction(metric, higher=ranks.sign > 0)
        elif tests * ranks.least_p_value <= level:
            row["verdict_wilcoxon"] = "undecided"


def ranks_disagree(row: Mapping[Any, Any]) -> bool:
    """Return whether the signed-rank test contradicts the verdict of a row of ``compare``.

    A difference that ranks find is no contradiction to "equivalent": it is there, and too small to
    matter.
    """
    told = (row["verdict"], row["verdict_wilcoxon"])
    return told[0] != told[1] and NO_VERDICT not in told and "equivalent" not in told


class _Trials:
    """The trials of a study: for each metric an array (activations, seeds), NaN where absent."""

    def __init__(self, values: pd.DataFrame, metrics: Mapping[str, Metric]) -> None:
        self.activations: list[str] = list(pd.unique(values["activation"]))
        seeds = pd.Index(pd.unique(values["seed"])).sort_values()
        self._rows = {activation: row for row, activation in enumerate(self.activations)}
        row = values["activation"].map(self._rows).to_numpy(dtype=np.intp)
        place = (row, seeds.get_indexer(pd.Index(values["seed"])))
        planned = np.zeros((len(self.activations), len(seeds)), dtype=np.intp)
        np.add.at(planned, place, 1)
        if (planned > 1).any():
            raise ValueError("values has more than one row for a trial")
        self._planned = planned > 0
        self._values = {}
        for name in {column for m in metrics.values() for column in (m.name, *m.columns)}:
            table = np.full(planned.shape, np.nan)
            if name in values:
                table[place] = values[name].to_numpy(dtype=np.float64, na_value=np.nan)
            self._values[name] = table
        self._absent = np.full(len(seeds), np.nan)

    def column(self, activation: str, metric: str) -> Floats:
        """Return the values of an activation by seed, NaN where there is none."""
        if activation not in self._rows:
            return self._absent
        column: Floats = self._values[metric][self._rows[activation]]
        return column

    def finite(self, activation: str, metric: str) -> NDArray[np.bool_]:
        """Return where a value is usable: not absent, infinite or absurdly large."""
        usable: NDArray[np.bool_] = np.abs(self.column(activation, metric)) <= _MAX_VALUE
        return usable

    def pairs(self, activation: str, baseline: str, metric: Metric) -> NDArray[np.bool_]:
        """Return the seeds for which both have a usable value of all that the metric takes."""
        usable = [
            self.finite(side, name) for name in metric.columns for side in (activation, baseline)
        ]
        everywhere: NDArray[np.bool_] = np.logical_and.reduce(usable)
        return everywhere

    def left_out(self, activation: str, baseline: str, metric: Metric) -> list[str]:
        """Return what to say about the seeds that either was planned with but that give no pair."""
        planned = np.zeros_like(self._absent, dtype=bool)
        infinite, absent = planned.copy(), planned.copy()
        for side in (activation, baseline):
            if side in self._rows:
                planned |= self._planned[self._rows[side]]
            for name in metric.columns:
                absent |= np.isnan(self.column(side, name))
                infinite |= ~self.finite(side, name)
        counts = {"missing": (planned & absent).sum(), "infinite": (infinite & ~absent).sum()}
        return [
            f"{count} of {planned.sum()} seeds left out, as a value is {reason}"
            for reason, count in counts.items()
            if count
        ]
