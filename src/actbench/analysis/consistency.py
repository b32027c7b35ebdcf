"""Whether printed statistics follow from the printed mean, standard deviation and n.

Every printed number means all values that round to it. A statistic follows if any of these
values give it, by any of the usual conventions; so a table that was computed and then rounded is
never called inconsistent, whatever its number of digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from actbench.analysis.conventions import (
    Convention,
    RunSummary,
    correlations,
    deviation_for_p,
    effect_sizes,
    of_difference,
    of_mean,
    quantile,
)
from actbench.analysis.printed import Printed, Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actbench.analysis.published_tables import PublishedRow, PublishedTable

    Values = Callable[[Printed], Range]

Consistency = Literal["follows", "if paired", "does not follow"]
FOLLOWS: Consistency = "follows"
IF_PAIRED: Consistency = "if paired"
DOES_NOT_FOLLOW: Consistency = "does not follow"
KINDS = ("interval", "p-value", "effect size", "difference", "standard error", "mean")


@dataclass(frozen=True)
class Check:
    """One printed statistic, compared with the printed mean, standard deviation and n.

    Attributes:
        name: the row.
        kind: one of ``KINDS``.
        printed: the statistic as it is printed.
        expected: what follows from the numbers exactly as printed, by the most usual convention.
        result: "if paired" if only a paired analysis can have given it.
        how: the convention that gives it, or why none does.
    """

    name: str
    kind: str
    printed: str
    expected: str
    result: Consistency
    how: str


def check_table(table: PublishedTable, test_images: int = 0) -> list[Check]:
    """Return a check for every statistic of the table that can be recomputed, row by row.

    Intervals of the mean, and of the difference from the table's reference, are tried with t and
    normal quantiles; which of the two they are is decided once for the table, by what the middles
    of most intervals are nearer to. P-values are tried as Student's, Welch's and normal,
    two-sided and one-sided; effect sizes as Cohen's d, Hedges' g and Glass's Δ. What only pairs of
    runs can have given is "if paired", with the correlation that they need. With a number of test
    images, a mean is also checked for being one of n shares of them, as in the GRIM test (Brown &
    Heathers 2017). Where rounding to the nearest does not explain a number, digits that were cut
    off or rounded away from zero are tried.

    Args:
        table: the numbers as printed.
        test_images: the number of test images of each run; 0 if unknown.
    """
    of_means = _intervals_are_of_means(table)
    checks = []
    for row in table.rows:
        both = [
            list(
                _checks(table, row, test_images, partial(Printed.values, cut_off=cut_off), of_means)
            )
            for cut_off in (False, True)
        ]
        checks += [_better(*pair) for pair in zip(*both, strict=True)]
    return [replace(check, printed=check.printed.replace("-", "−")) for check in checks]


def _better(nearest: Check, cut_off: Check) -> Check:
    if nearest.result == FOLLOWS or cut_off.result != FOLLOWS:
        return nearest
    return replace(cut_off, how=f"{cut_off.how}, if digits were cut off or rounded up")


def _intervals_are_of_means(table: PublishedTable) -> bool:
    """Return whether the middles of most intervals are nearer to the mean than to a difference."""
    reference = table.row(table.reference).mean
    votes = []
    for row in table.rows:
        if not (row.mean and reference and row.ci_low and row.ci_high):
            continue
        middle = (row.ci_low.value + row.ci_high.value) / 2
        difference = abs(row.mean.value - reference.value)
        votes.append(abs(middle - row.mean.value) < abs(abs(middle) - difference))
    return 2 * sum(votes) > len(votes)


def _checks(
    table: PublishedTable,
    row: PublishedRow,
    test_images: int,
    values: Values,
    of_means: bool,
) -> Iterator[Check]:
    if row.mean is None:
        return
    summary = _summary(row, values)
    if row.se and row.sd and row.n:
        yield _standard_error(row, row.se, row.sd, row.n, values)
    if summary is not None and row.ci_half:
        yield _half_interval(table, row, row.ci_half, summary, values)
    ends = (row.ci_low, row.ci_high) if row.ci_low and row.ci_high else None
    if summary is not None and ends and of_means:
        found = of_mean(summary)
        yield _interval(table, row, ends, summary.mean, found, "the mean", values)
    if row.name != table.reference:
        yield from _comparison(table, row, ends if not of_means else None, summary, values)
    if test_images and row.n:
        yield from _share(table, row, row.mean, test_images * row.n, values)


def _comparison(
    table: PublishedTable,
    row: PublishedRow,
    ends: tuple[Printed, Printed] | None,
    summary: RunSummary | None,
    values: Values,
) -> Iterator[Check]:
    """Yield the checks of what a row prints about its difference from the reference."""
    reference = table.row(table.reference)
    if row.mean and row.difference and reference.mean:
        difference = values(row.mean).minus(values(reference.mean))
        yield _difference(row, row.difference, difference, values)
    other = _summary(reference, values)
    if summary is None or other is None:
        return
    if ends:
        found = of_difference(summary, other)
        difference = summary.mean.minus(other.mean)
        if _middle(difference) * (ends[0].value + ends[1].value) < 0:
            difference = difference.scaled(-1)
        check = _interval(table, row, ends, difference, found, "the difference", values)
        if check.result == DOES_NOT_FOLLOW and _centre(ends, values).meets(difference):
            width = _width(ends, values).scaled(1 / quantile(summary.n - 1, table.confidence))
            check = _if_paired(check, summary, other, width.scaled(math.sqrt(summary.n)))
        yield check
    if row.p:
        yield _p_value(row, row.p, summary, other, values)
    if row.d:
        yield _effect_size(row, row.d, summary, other, values)


def _summary(row: PublishedRow, values: Values) -> RunSummary | None:
    """Return the row's mean, deviation and n; None if it lacks one or has fewer than two runs."""
    if row.mean is None or row.n is None or row.n < 2 or not (row.sd or row.se):
        return None
    deviation = values(row.sd) if row.sd else Range(0, 0)
    if row.sd is None and row.se:
        deviation = values(row.se).scaled(math.sqrt(row.n))
    return RunSummary(values(row.mean), Range(max(0.0, deviation.low), deviation.high), row.n)


def _standard_error(row: PublishedRow, se: Printed, sd: Printed, n: int, values: Values) -> Check:
    fits = values(sd).scaled(1 / math.sqrt(n)).meets(values(se))
    expected = _text(sd.value / math.sqrt(n))
    return Check(row.name, "standard error", se.text, expected, _result(fits), "sd / √n")


def _difference(row: PublishedRow, printed: Printed, difference: Range, values: Values) -> Check:
    fits = any(difference.scaled(sign).meets(values(printed)) for sign in (1, -1))
    expected, how = _text(_middle(difference)), "difference of the means"
    return Check(row.name, "difference", printed.text, expected, _result(fits), how)


def _half_interval(
    table: PublishedTable, row: PublishedRow, half: Printed, summary: RunSummary, values: Values
) -> Check:
    known = of_mean(summary)
    fitting = [c.name for c in known if c.half_width(table.confidence).meets(values(half))]
    expected = f"± {_text(_middle(known[0].half_width(table.confidence)))}"
    how = fitting[0] if fitting else "neither the t nor the normal interval of the mean"
    return Check(row.name, "interval", f"± {half.text}", expected, _result(bool(fitting)), how)


def _interval(
    table: PublishedTable,
    row: PublishedRow,
    ends: tuple[Printed, Printed],
    centre: Range,
    known: Sequence[Convention],
    what: str,
    values: Values,
) -> Check:
    """Return the check of a printed interval about ``centre``, the mean or the difference."""
    middle, half = _middle(centre), _middle(known[0].half_width(table.confidence))
    printed = f"{ends[0].text} to {ends[1].text}"
    expected = f"{_text(middle - half)} to {_text(middle + half)}"
    check = Check(row.name, "interval", printed, expected, DOES_NOT_FOLLOW, "")
    for convention in known:
        if _gives(ends, centre, convention.half_width(table.confidence), values):
            name = convention.name.partition(" interval")[0]
            return replace(check, result=FOLLOWS, how=f"{name} interval of {what}")
    found = _centre(ends, values)
    if not found.meets(centre):
        how = f"its middle is {_text(_middle(found))}, but {what} is {_text(middle)}"
    else:
        how = f"its half-width is {_text(_middle(_width(ends, values)))}, not {_text(half)}"
    return replace(check, how=how)


def _gives(ends: tuple[Printed, Printed], centre: Range, half: Range, values: Values) -> bool:
    """Return whether a centre and a half-width give both printed ends at once.

    The printed ends are a box; centre and half-width are one that is turned by 45°. Two such boxes
    meet if and only if their projections on the four axes do.
    """
    return (
        centre.minus(half).meets(values(ends[0]))
        and centre.minus(half.scaled(-1)).meets(values(ends[1]))
        and centre.meets(_centre(ends, values))
        and half.meets(_width(ends, values))
    )


def _centre(ends: tuple[Printed, Printed], values: Values) -> Range:
    low, high = map(values, ends)
    return Range((low.low + high.low) / 2, (low.high + high.high) / 2)


def _width(ends: tuple[Printed, Printed], values: Values) -> Range:
    """Return the half-widths of a printed interval."""
    low, high = map(values, ends)
    return high.minus(low).scaled(0.5)


def _p_value(
    row: PublishedRow, printed: Printed, summary: RunSummary, other: RunSummary, values: Values
) -> Check:
    difference = summary.mean.minus(other.mean)
    allowed = {
        "=": values(printed),
        "<": Range(0, printed.value),
        ">": Range(printed.value, 1),
    }[printed.sign]
    known = of_difference(summary, other)
    exact = replace(known[0], error=_point(known[0].error)).p_value(_point(difference))
    check = Check(row.name, "p-value", printed.text, _text(exact.low), FOLLOWS, "")
    for convention in known:
        p = convention.p_value(difference)
        for sides, factor in (("", 1.0), ("one-sided ", 0.5)):
            if p.scaled(factor).meets(allowed):
                return replace(check, how=f"{sides}{convention.name}")
    check = replace(check, result=DOES_NOT_FOLLOW, how="no t or normal test gives it")
    needed = deviation_for_p(allowed, difference, summary.n)
    return _if_paired(check, summary, other, needed)


def _if_paired(check: Check, summary: RunSummary, other: RunSummary, deviation: Range) -> Check:
    """Return the check as "if paired" if paired differences can have this standard deviation."""
    if summary.n != other.n or min(summary.deviation.low, other.deviation.low) <= 0:
        return check
    needed = correlations(summary, other, deviation)
    if not needed.meets(Range(-1, 1)):
        r = needed.low if needed.low > 1 else needed.high
        return replace(check, how=f"{check.how}; pairs would need a correlation of {r:.2f}")
    low, high = f"{max(needed.low, -1):.2f}", f"{min(needed.high, 1):.2f}"
    r_text = low if low == high else f"{low} to {high}"
    how = f"only if the runs are pairs with a correlation of {r_text}"
    return replace(check, result=IF_PAIRED, how=how)


def _effect_size(
    row: PublishedRow, printed: Printed, summary: RunSummary, other: RunSummary, values: Values
) -> Check:
    known = effect_sizes(summary, other)
    found = [name for name, d in known.items() if d.meets(values(printed).magnitude())]
    first = next(iter(known.values()))
    expected = _text(_middle(first)) if math.isfinite(first.high) else "∞"
    how = found[0] if found else "neither Cohen's d, Hedges' g nor Glass's Δ"
    return Check(row.name, "effect size", printed.text, expected, _result(bool(found)), how)


def _share(
    table: PublishedTable, row: PublishedRow, mean: Printed, images: int, values: Values
) -> Iterator[Check]:
    """Yield the check that a mean is a share of all runs' test images, if it has enough digits."""
    step = (100 if table.unit == "percent" else 1) / images
    if mean.step >= step:
        return
    nearest = round(mean.value / step) * step
    fits = values(mean).meets(Range(nearest, nearest))
    digits = 1 - round(math.log10(mean.step))
    how = f"a mean of shares of test images is a multiple of {step:.3g}"
    yield Check(row.name, "mean", mean.text, f"{nearest:.{max(digits, 0)}f}", _result(fits), how)


def _middle(values: Range) -> float:
    return (values.low + values.high) / 2


def _point(values: Range) -> Range:
    return Range(_middle(values), _middle(values))


def _result(fits: bool) -> Consistency:
    return FOLLOWS if fits else DOES_NOT_FOLLOW


def _text(value: float) -> str:
    shown = f"{value:.2g}" if abs(value) < 0.001 else f"{value:.4f}".rstrip("0").rstrip(".")
    return shown.replace("-", "−")
