"""Published tables → differences from the baseline with intervals, tests and verdicts.

The same questions as ``comparisons`` asks of trials, answered from printed means, standard
deviations and n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from actbench.analysis.consistency import check_table
from actbench.analysis.conventions import quantile
from actbench.analysis.metrics import Metric
from actbench.analysis.planning import seeds_needed
from actbench.analysis.sequential import LEVEL
from actbench.analysis.unpaired import Estimate, Sample, paired_from_summaries, welch
from actbench.analysis.verdicts import NO_VERDICT, SEEDS_COLUMNS, decide

if TYPE_CHECKING:
    from typing import Literal

    from actbench.analysis.consistency import Check
    from actbench.analysis.published_tables import PublishedRow, PublishedTable

AUDIT_COLUMNS = (
    "name",
    "baseline",
    "correlation",
    "mean",
    "sd",
    "n",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "p_equivalence",
    "p_equivalence_holm",
    "margin",
    "minimum_detectable_effect",
    "seeds_needed",
    "seeds_needed_low",
    "seeds_needed_high",
    "verdict",
    "note",
)
_NUMBERS = [c for c in AUDIT_COLUMNS if c not in ("name", "baseline", "n", "verdict", "note")]
PLAUSIBLE_CORRELATIONS = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class AuditOptions:
    """How a table's rows are compared.

    Attributes:
        correlations: the correlations of the two runs of a pair. If there is exactly one, the runs
            are taken for pairs; otherwise they are independent, and the result for each is added.
        margin: the largest difference that does not matter, as a fraction.
        better: whether a higher or a lower mean is better.
    """

    correlations: tuple[float, ...] = PLAUSIBLE_CORRELATIONS
    margin: float = 0.005
    better: Literal["higher", "lower"] = "higher"

    @property
    def paired(self) -> float | None:
        """The correlation of the pairs, or None if the runs are not taken for pairs."""
        return self.correlations[0] if len(self.correlations) == 1 else None


@dataclass(frozen=True)
class Audit:
    """What a published table shows.

    Attributes:
        table: the numbers as printed.
        options: how its rows were compared.
        rows: the table that ``audit_table`` returns.
        if_paired: the table that ``audit_if_paired`` returns.
        checks: the checks that ``check_table`` returns.
    """

    table: PublishedTable
    options: AuditOptions
    rows: pd.DataFrame
    if_paired: pd.DataFrame
    checks: list[Check]


def audit(table: PublishedTable, options: AuditOptions, test_images: int = 0) -> Audit:
    """Return the audit of a published table; see ``check_table`` for ``test_images``."""
    return Audit(
        table,
        options,
        audit_table(table, options),
        audit_if_paired(table, options),
        check_table(table, test_images),
    )


def audit_table(table: PublishedTable, options: AuditOptions) -> pd.DataFrame:
    """Return each row's difference from the baseline, with its interval, tests and verdict.

    The verdicts follow the rule of ``compare``, at the level 0.05 after Holm's correction over the
    rows. Without a correlation the test is Welch's, else the paired t-test. Nothing is taken from
    printed intervals or p-values.

    Returns:
        A row per row of the table but the baseline, with the columns ``AUDIT_COLUMNS``; means,
        deviations, differences and the margin are fractions, whatever the table's unit.
        ``correlation`` is NaN unless the runs are taken for pairs. ``seeds_needed`` are seeds for
        each of the two rows. A row without standard deviation, or of a single run, has no verdict.
    """
    return _compared(table, options, options.paired, plan=True)


def audit_if_paired(table: PublishedTable, options: AuditOptions) -> pd.DataFrame:
    """Return the table of ``audit_table`` once for each correlation, if there are several.

    It shows how far the result depends on whether the runs were pairs, which papers rarely say. It
    has no columns for the seeds needed.
    """
    correlations = () if options.paired is not None else options.correlations
    parts = [_compared(table, options, r, plan=False) for r in correlations]
    if not parts:
        parts = [_compared(table, options, None, plan=False).iloc[:0]]
    return pd.concat(parts, ignore_index=True).drop(columns=list(SEEDS_COLUMNS))


def _compared(
    table: PublishedTable, options: AuditOptions, correlation: float | None, *, plan: bool
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    if table.baseline:
        baseline = table.row(table.baseline)
        others = [row for row in table.rows if row.name != table.baseline]
        rows = [
            _compare_row(table, row, baseline, options, correlation, len(others) if plan else 0)
            for row in others
        ]
    frame = pd.DataFrame(rows, columns=["metric", *AUDIT_COLUMNS])
    frame = frame.astype(dict.fromkeys(_NUMBERS, "float64"))
    frame = frame.astype({"n": "Int64", **dict.fromkeys(SEEDS_COLUMNS, "Int64")})
    if len(frame) == 0:
        return frame[list(AUDIT_COLUMNS)]
    metric = Metric("mean", "mean", options.better, has_margin=True, kind="fraction")
    decided = decide(frame.assign(n=frame["n"].fillna(0)), {"mean": metric}, LEVEL)
    untested = decided["p_value"].isna()
    decided.loc[untested, "verdict"] = NO_VERDICT
    return decided.assign(n=frame["n"])[list(AUDIT_COLUMNS)]


def _compare_row(
    table: PublishedTable,
    row: PublishedRow,
    baseline: PublishedRow,
    options: AuditOptions,
    correlation: float | None,
    tests: int,
) -> dict[str, Any]:
    ours, theirs = (sample_of(each, table) for each in (row, baseline))
    assert row.mean is not None and baseline.mean is not None  # noqa: S101, PT018
    factor = _factor(table)
    found: dict[str, Any] = {
        **dict.fromkeys(_NUMBERS, math.nan),
        "metric": "mean",
        "name": row.name,
        "baseline": baseline.name,
        "correlation": math.nan if correlation is None else correlation,
        "mean": row.mean.value * factor,
        "sd": math.nan if ours is None else ours.deviation,
        "n": row.n if row.n is not None else pd.NA,
        "difference": (row.mean.value - baseline.mean.value) * factor,
        "margin": options.margin,
        "note": _why_not(row, baseline, ours, theirs, correlation),
    }
    estimate = None
    if ours is not None and theirs is not None and not found["note"]:
        paired = correlation is not None
        estimate = (
            paired_from_summaries(ours, theirs, correlation)
            if correlation is not None
            else welch(ours, theirs)
        )
        if estimate is not None:
            found |= _tested(estimate, ours, theirs, options, tests, paired=paired)
        else:
            found["note"] = "no spread, so no interval and no test"
    return found


def _tested(
    estimate: Estimate,
    ours: Sample,
    theirs: Sample,
    options: AuditOptions,
    tests: int,
    *,
    paired: bool,
) -> dict[str, Any]:
    """Return what a row's test gives; without ``tests`` to correct for, not the seeds needed."""
    low, high = estimate.interval()
    found = {
        "ci_low": low,
        "ci_high": high,
        "p_value": estimate.p_value(),
        "p_equivalence": estimate.equivalence_p_value(options.margin),
        "minimum_detectable_effect": estimate.detectable_effect(LEVEL),
    }
    if not tests:
        return found
    deviation = math.hypot(ours.deviation, theirs.deviation)
    parts = (ours.deviation / deviation, theirs.deviation / deviation)
    freedom = 1 / sum(part**4 for part in parts)
    if paired:
        deviation, freedom = estimate.error * math.sqrt(ours.n), 1.0
    runs = 1 + estimate.freedom / freedom
    needed = seeds_needed(options.margin, deviation, runs, tests, LEVEL, freedom=freedom)
    seeds = (needed.number, needed.low, needed.high)
    return {
        **found,
        **{
            column: number if math.isfinite(number) else math.nan
            for column, number in zip(SEEDS_COLUMNS, seeds, strict=True)
        },
        "note": "" if math.isfinite(needed.number) else "more than a million seeds needed",
    }


def _factor(table: PublishedTable) -> float:
    return 0.01 if table.unit == "percent" else 1.0


def sample_of(row: PublishedRow, table: PublishedTable) -> Sample | None:
    """Return the row's mean, deviation and n as fractions, or None if it lacks one of them."""
    if row.mean is None or row.n is None:
        return None
    deviation = _deviation(row, row.mean.value, row.n, table.confidence)
    if deviation is None:
        return None
    factor = _factor(table)
    return Sample(row.mean.value * factor, deviation * factor, row.n)


def _deviation(row: PublishedRow, mean: float, n: int, confidence: float) -> float | None:
    """Return the standard deviation, or what the standard error or interval of the mean gives."""
    if row.sd is not None:
        return row.sd.value
    if row.se is not None:
        return row.se.value * math.sqrt(n)
    half = None if row.ci_half is None else row.ci_half.value
    if row.ci_low and row.ci_high and row.ci_low.value <= mean <= row.ci_high.value:
        half = (row.ci_high.value - row.ci_low.value) / 2
    if half is None or n < 2:
        return None
    return half * math.sqrt(n) / quantile(n - 1, confidence)


def _why_not(
    row: PublishedRow,
    baseline: PublishedRow,
    ours: Sample | None,
    theirs: Sample | None,
    correlation: float | None,
) -> str:
    """Return why a row cannot be tested, or ""."""
    for each, sample in ((row, ours), (baseline, theirs)):
        whose = "" if each is row else f" of {each.name}"
        if each.n == 1:
            return f"one run{whose} only, so no interval and no test"
        if sample is None:
            lacking = "number of runs" if each.n is None else "standard deviation"
            return f"no {lacking}{whose}, so no interval and no test"
    if correlation is not None and ours and theirs and ours.n != theirs.n:
        return "unequal numbers of runs cannot be pairs"
    return ""
