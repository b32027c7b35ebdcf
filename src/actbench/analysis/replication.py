"""A claim's published rows beside a study's own results: reproduced, contradicted or neither.

The source's differences and verdicts are those of ``audit``, the study's those of ``compare``, both
from the same margin. docs/audit.md has the rule.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from actbench.analysis.audit import AuditOptions, audit_table, sample_of
from actbench.analysis.comparison_notes import withhold_at_chance
from actbench.analysis.comparisons import compare
from actbench.analysis.conventions import quantile
from actbench.analysis.metrics import Metric
from actbench.analysis.paired import CONFIDENCE, paired_t
from actbench.analysis.unpaired import Estimate, welch
from actbench.analysis.verdicts import NO_VERDICT, holm
from actbench.study.levels import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.claims import Claim, ClaimTable
    from actbench.analysis.frames import Frames
    from actbench.analysis.published_tables import PublishedRow, PublishedTable

REPRODUCED = "reproduced"
CONTRADICTED = "contradicted"
NOT_DECIDABLE = "not decidable"
NOT_MEASURED = "not measured"
RESULTS = (REPRODUCED, CONTRADICTED, NOT_DECIDABLE, NOT_MEASURED)
_SIDES = ("source", "here")
REPLICATION_COLUMNS = (
    "table",
    "row",
    "activation",
    "baseline",
    *(f"{side}{part}" for side in _SIDES for part in ("", "_ci_low", "_ci_high", "_n", "_verdict")),
    "p_differ_holm",
    "result",
    "reason",
)
_VALUE = Metric("value", "value", "higher", has_margin=True, kind="fraction")


@dataclass(frozen=True)
class Side:
    """A row's difference from the baseline in accuracy, or its accuracy, in one of the two studies.

    Attributes:
        value: a fraction, higher is better.
        estimate: the same with its standard error; None without a spread.
        n: runs or pairs.
        verdict: one of ``VERDICTS``; "" for an accuracy that is not compared.
    """

    value: float
    estimate: Estimate | None
    n: int
    verdict: str = ""

    def columns(self, side: str) -> dict[str, Any]:
        """Return the columns of ``replicate`` of this side."""
        low, high = self.estimate.interval() if self.estimate else (math.nan, math.nan)
        return {
            side: self.value,
            f"{side}_ci_low": low,
            f"{side}_ci_high": high,
            f"{side}_n": self.n,
            f"{side}_verdict": self.verdict,
        }


def replicate(claim: Claim, frames: Frames) -> pd.DataFrame:
    """Return every published row of a claim beside the study's result, and what follows.

    A table that prints the runs of an earlier one again is left out, and so is the row of the
    baseline in a table with one. Rows that the study does not measure stay, with the reason.

    Returns:
        The columns ``REPLICATION_COLUMNS``. Differences are in accuracy, fractions, higher is
        better, also where the source prints errors; in a table that compares nothing (``baseline``
        is empty) they are accuracies. Intervals are 95 % t intervals, for independent runs in the
        source and for pairs here. ``p_differ_holm`` is that of a test for equal differences in both
        (Welch's, of the two estimates), after Holm's correction over the table's rows. ``result``
        is one of ``RESULTS``, ``reason`` says why.
    """
    rows: list[dict[str, Any]] = []
    for each in claim.tables:
        if not each.repeats:
            rows += _rows(each, frames)
    return pd.DataFrame(rows, columns=list(REPLICATION_COLUMNS)).astype(
        {"source_n": "Int64", "here_n": "Int64"}
    )


def judge(source: Side, here: Side, p_differ: float, level: float) -> tuple[str, str]:
    """Return the result of a row that was measured, and the reason.

    Args:
        source: what was published.
        here: what the study found.
        p_differ: the corrected p-value for equal differences in both; NaN if it is not known.
        level: the level of this test; the verdicts have their own.
    """
    if not (source.verdict and here.verdict):
        return NOT_DECIDABLE, "a value without a comparison"
    if source.estimate is None or source.verdict == NO_VERDICT:
        return NOT_DECIDABLE, f"{_lacking(source)} in the source"
    if here.estimate is None or here.verdict == NO_VERDICT:
        return NOT_DECIDABLE, f"{_lacking(here)} here"
    verdicts = {source.verdict, here.verdict}
    both = f"{source.verdict} in both"
    if len(verdicts) > 1:
        both = f"{source.verdict} in the source, {here.verdict} here"
    if verdicts == {"better", "worse"}:
        return CONTRADICTED, both
    low, high = source.estimate.interval()
    here_low, here_high = here.estimate.interval()
    if not (low <= here_high and here_low <= high):
        if p_differ <= level:
            return CONTRADICTED, f"{both}, but the intervals do not overlap"
        return NOT_DECIDABLE, f"{both}; the intervals do not overlap, which may be chance"
    return NOT_DECIDABLE if len(verdicts) > 1 or "undecided" in verdicts else REPRODUCED, both


def _lacking(side: Side) -> str:
    if side.n < 2:
        return f"no interval, as n = {side.n},"
    return "no verdict" if side.verdict == NO_VERDICT else "no spread"


def _rows(each: ClaimTable, frames: Frames) -> list[dict[str, Any]]:
    table, baseline = _against(each.table, frames.study.baseline), frames.study.baseline
    title, compares = table.title, bool(table.baseline)
    published = _published(each, table, frames) if compares else {}
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[Side, Side] | None] = []

    @functools.cache
    def results(corruptions: tuple[str, ...], severity: int) -> pd.DataFrame:
        values = _values(frames, each.metric, corruptions, severity)
        return _compared(values, frames) if compares else values

    for row in table.rows:
        if compares and row.name == table.baseline:
            continue
        source = published[row.name] if compares else _accuracy(row, each, table)
        why = _not_measured(row, frames)
        if compares and not why and table.row(table.baseline).activation != baseline:
            why = f"the source has no row of {baseline}, the baseline here"
        here = None if why else _here(row.activation, results(row.corruptions, row.severity))
        pairs.append((source, here) if here else None)
        rows.append(
            {
                "table": title,
                "row": row.name,
                "activation": row.activation,
                "baseline": baseline if compares else "",
                **source.columns("source"),
                **(here.columns("here") if here else {}),
                "result": NOT_MEASURED,
                "reason": why,
            }
        )
    p_values = holm(np.array([_p_differ(pair) for pair in pairs]))
    for found, pair, p_differ in zip(rows, pairs, p_values, strict=True):
        if pair is not None:
            found["p_differ_holm"] = p_differ
            found["result"], found["reason"] = judge(*pair, p_differ, frames.level)
    return rows


def _against(table: PublishedTable, baseline: str) -> PublishedTable:
    """Return the table with the row of this activation as its baseline, if it has one."""
    name = next((row.name for row in table.rows if row.activation == baseline), "")
    return dataclasses.replace(table, baseline=name) if table.baseline and name else table


def _not_measured(row: PublishedRow, frames: Frames) -> str:
    """Return why the study does not measure a row, or ""."""
    study = frames.study
    if not row.activation:
        return "actbench does not have it"
    if row.activation not in study.activations:
        return f"{row.activation} was not run"
    missing = [name for name in row.corruptions if name not in study.corruptions]
    if not missing:
        return ""
    if len(missing) == len(row.corruptions) > 1:
        return "its corruptions were not measured"
    needs = ", which needs the published files" if missing == ["frost"] else ""
    return f"without {', '.join(missing)}{needs}"


def _published(each: ClaimTable, table: PublishedTable, frames: Frames) -> dict[str, Side]:
    """Return the source's differences from the baseline by the rows' names."""
    options = AuditOptions(margin=frames.study.margin, better=each.better)
    sign = 1.0 if each.better == "higher" else -1.0
    theirs = sample_of(table.row(table.baseline), table)
    found = {}
    for row in audit_table(table, options).to_dict("records"):
        ours = sample_of(table.row(row["name"]), table)
        estimate = welch(ours, theirs) if ours and theirs else None
        if estimate:
            estimate = dataclasses.replace(estimate, difference=sign * estimate.difference)
        n = int(row["n"]) if pd.notna(row["n"]) else 0
        found[row["name"]] = Side(sign * row["difference"], estimate, n, row["verdict"])
    return found


def _accuracy(row: PublishedRow, each: ClaimTable, table: PublishedTable) -> Side:
    """Return the accuracy that a row prints."""
    assert row.mean is not None  # noqa: S101 - claims have means
    value = row.mean.value / (100 if table.unit == "percent" else 1)
    value = value if each.better == "higher" else 1 - value
    sample, estimate = sample_of(row, table), None
    if sample and sample.n > 1 and sample.deviation > 0:
        estimate = Estimate(value, sample.deviation / math.sqrt(sample.n), sample.n - 1)
    return Side(value, estimate, row.n or 0)


def _compared(values: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """Return the comparisons of ``value`` with the baseline, by the study's rule."""
    metrics, study = {"value": _VALUE}, frames.study
    found = compare(
        values, baseline=study.baseline, metrics=metrics, margin=study.margin, level=frames.level
    )
    if frames.baseline_at_chance:
        withhold_at_chance(found, metrics)
    return found


def _here(activation: str, results: pd.DataFrame) -> Side:
    """Return the study's side from rows of ``_compared``, or of ``_values`` without comparison."""
    ours = results[results["activation"] == activation]
    if "verdict" not in ours:
        known = ours["value"].dropna().to_numpy(np.float64)
        test = paired_t(known)
        return _side(float(test.difference), float(test.ci_low), len(known), "")
    if ours.empty:  # no trial is stored yet
        return Side(math.nan, None, 0, NO_VERDICT)
    row = ours.iloc[0]
    return _side(row["difference"], row["ci_low"], row["n"], row["verdict"])


def _side(value: float, ci_low: float, n: int, verdict: str) -> Side:
    half = value - ci_low
    if not half > 0:  # NaN, or no spread
        return Side(value, None, n, verdict)
    return Side(value, Estimate(value, half / quantile(n - 1, CONFIDENCE), n - 1), n, verdict)


def _values(
    frames: Frames, metric: str, corruptions: tuple[str, ...], severity: int
) -> pd.DataFrame:
    """Return ``activation``, ``seed`` and ``value`` by trial; NaN if a score is missing."""
    key = ["activation", "seed"]
    if metric == "clean_accuracy":
        return frames.trials[[*key, metric]].rename(columns={metric: "value"})
    scores = frames.corruptions[frames.corruptions["corruption"].isin(corruptions)]
    wanted = [severity] if severity else list(SEVERITIES)
    scores = scores[scores["severity"].isin(wanted)]
    groups = scores.groupby(key)["accuracy"]
    means = groups.mean().where(groups.count() == len(corruptions) * len(wanted))
    return frames.trials[key].merge(means.rename("value"), "left", left_on=key, right_index=True)


def _p_differ(pair: tuple[Side, Side] | None) -> float:
    """Return the p-value for equal differences in both, NaN without both standard errors."""
    if pair is None or pair[0].estimate is None or pair[1].estimate is None:
        return math.nan
    one, other = pair[0].estimate, pair[1].estimate
    shares = [(e.error**2, e.freedom) for e in (one, other)]
    variance = sum(share for share, _ in shares)
    freedom = variance**2 / sum(share**2 / f for share, f in shares)
    return Estimate(other.difference - one.difference, math.sqrt(variance), freedom).p_value()


def counts(table: pd.DataFrame) -> Mapping[str, int]:
    """Return how many rows of ``replicate`` have which result, in the order of ``RESULTS``."""
    return {result: int((table["result"] == result).sum()) for result in RESULTS}
