"""Tables as papers print them: which column means what, and the numbers of each row."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from actbench.analysis.printed import (
    MAX_RUNS,
    Printed,
    clean,
    is_missing,
    parse_number,
    parse_pair,
    parse_plus_minus,
)
from actbench.analysis.published_columns import find_columns
from actbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from actbench.analysis.text_tables import ParsedTable

Unit = Literal["percent", "fraction"]
Spread = Literal["sd", "se", "ci"]
RUNS = "a number of runs such as 5"


@dataclass(frozen=True)
class PublishedRow:
    """A row of a published table, in the unit in which it is printed; None where it has no value.

    Attributes:
        name: the first cell, such as an activation.
        mean: the mean over the runs.
        sd: standard deviation over the runs.
        se: standard error of the mean.
        n: the number of runs.
        ci_low: the lower end of a confidence interval.
        ci_high: its upper end.
        ci_half: half the width of a confidence interval of the mean.
        p: a p-value.
        d: a standardised effect size.
        difference: the difference from the reference.
        activation: the spec of the same activation here, if there is one.
        unverified: the fields that nobody could check against the source.
        corruptions: the corruptions that its accuracy is a mean over; empty for clean images.
        severity: the severity of the corruptions; 0 for the mean over all.
    """

    name: str
    mean: Printed | None = None
    sd: Printed | None = None
    se: Printed | None = None
    n: int | None = None
    ci_low: Printed | None = None
    ci_high: Printed | None = None
    ci_half: Printed | None = None
    p: Printed | None = None
    d: Printed | None = None
    difference: Printed | None = None
    activation: str = ""
    unverified: tuple[str, ...] = ()
    corruptions: tuple[str, ...] = ()
    severity: int = 0

    @property
    def is_tested(self) -> bool:
        """Whether the row prints a comparison with another one."""
        return any(value is not None for value in (self.p, self.d, self.difference))


@dataclass(frozen=True)
class PublishedTable:
    """A published table.

    Attributes:
        title: what it shows.
        rows: in its order; each name once.
        unit: the unit of means and deviations.
        baseline: the row that all others are compared with; "" for values without a comparison.
        reference: the row that printed p-values, effect sizes and differences refer to.
        confidence: the coverage of the printed intervals.
        notes: sentences on how it was read.
    """

    title: str
    rows: tuple[PublishedRow, ...]
    unit: Unit
    baseline: str
    reference: str
    confidence: float = 0.95
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> PublishedRow:
        """Return the row of that name."""
        return next(row for row in self.rows if row.name == name)


@dataclass(frozen=True)
class ReadingOptions:
    """How a table is to be read where it does not say so itself.

    Attributes:
        columns: the header of a role of ``ROLES``.
        baseline: the name of a row, or "".
        reference: likewise.
        n: the number of runs of rows that have none.
        unit: the unit of means and deviations; percent if a mean is above 1.
        spread: what follows a ±; what the header says, else the standard deviation.
    """

    columns: Mapping[str, str]
    baseline: str = ""
    reference: str = ""
    n: int | None = None
    unit: Unit | None = None
    spread: Spread | None = None


def is_readable(parsed: ParsedTable, options: ReadingOptions) -> bool:
    """Return whether the table has a column of means."""
    try:
        return "mean" in find_columns(parsed.headers, options.columns)
    except UsageError:
        return False


def read_table(parsed: ParsedTable, title: str, options: ReadingOptions) -> PublishedTable:
    """Return the table that is printed.

    The baseline is the first row named ReLU, else the first row. The reference of printed
    comparisons is the one row without any where all others have some, else the baseline.

    Raises:
        UsageError: a column or row cannot be found, or a cell cannot be read.
    """
    columns = find_columns(parsed.headers, options.columns)
    if "mean" not in columns:
        raise UsageError(
            f"{title} has no column of means among {', '.join(map(repr, parsed.headers))}; name it "
            "with --column mean=HEADER"
        )
    read, notes = [], []
    for cells, line in zip(parsed.rows, parsed.lines, strict=True):
        row = _read_row(cells, line, columns, parsed.headers, title, options)
        if row.mean is None:
            if any(not is_missing(cell) for cell in cells[1:]):
                notes.append(f"{row.name or f'line {line}'} is left out, as it has no mean")
            continue
        read.append(row)
    if not read:
        raise UsageError(f"{title} has no row with a mean")
    _check_names(read, title)
    # the level of an interval says nothing of the unit
    header = re.sub(r"[\d.]+\s*%", "", parsed.headers[columns["mean"]])
    texts = [header, *(cells[columns["mean"]] for cells in parsed.rows)]
    in_percent = _largest(read) > 1 or any("%" in text for text in texts)
    unit = options.unit or ("percent" if in_percent else "fraction")
    top = 100 if unit == "percent" else 1
    for row in read:
        if row.mean is not None and not 0 <= row.mean.value <= top:
            raise UsageError(
                f"{title}: the mean of {row.name!r} is {row.mean.text}; an accuracy or error must "
                f"be from 0 to {top}, in {unit if unit == 'percent' else 'fractions'}"
            )
    baseline = find_row(options.baseline, read, title) if options.baseline else _baseline(read)
    reference = find_row(options.reference, read, title) if options.reference else ""
    with_level = [at for role, at in columns.items() if role.startswith("ci")]
    if options.spread == "ci" or _spread_of(parsed.headers[columns["mean"]]) == "ci":
        with_level.append(columns["mean"])
    headers = " ".join(parsed.headers[at] for at in with_level)
    level = re.search(r"(?<![\d.])([1-9]\d?(?:\.\d+)?)\s*%", headers)
    return PublishedTable(
        title,
        tuple(read),
        unit,
        baseline,
        reference or find_reference(read, baseline),
        float(level[1]) / 100 if level else 0.95,
        tuple(notes),
    )


def _read_row(
    cells: list[str],
    line: int,
    columns: Mapping[str, int],
    headers: list[str],
    title: str,
    options: ReadingOptions,
) -> PublishedRow:
    name = clean(cells[columns["name"]])

    def unreadable(role: str, expected: str) -> UsageError:
        at = columns[role]
        return UsageError(
            f"{title}, line {line} ({name!r}), column {headers[at]!r}: cannot read {cells[at]!r} "
            f"as {expected}"
        )

    def number(role: str, expected: str = "a number such as 86.66") -> Printed | None:
        if role not in columns or is_missing(cells[columns[role]]):
            return None
        found = parse_number(cells[columns[role]])
        if found is None or (found.sign != "=" and role != "p"):
            raise unreadable(role, expected)
        return found

    row = PublishedRow(name)
    both = parse_plus_minus(cells[columns["mean"]])
    if both is None:
        row = replace(row, mean=number("mean", "a number such as 86.66, or 86.66 ± 0.58"))
    else:
        kind = options.spread or _spread_of(headers[columns["mean"]])
        row = _with_spread(replace(row, mean=both[0]), kind, both[1])
    if "sd" in columns:
        row = replace(row, sd=number("sd") or row.sd)
    row = replace(
        row,
        se=number("se") or row.se,
        n=_count(number("n", RUNS), options.n, lambda: unreadable("n", RUNS)),
        ci_low=number("ci_low"),
        ci_high=number("ci_high"),
        p=number("p", "a p-value such as 0.04 or < 0.001"),
        d=number("d"),
        difference=number("difference"),
    )
    if row.p is not None and not 0 <= row.p.value <= 1:
        raise unreadable("p", "a p-value from 0 to 1")
    for role in ("sd", "se"):
        value = getattr(row, role)
        if value is not None and value.value < 0:
            raise unreadable(role if role in columns else "mean", "a spread of at least 0")
    if "ci" in columns and not is_missing(cells[columns["ci"]]):
        row = _with_interval(row, cells[columns["ci"]])
        if row.ci_low is None and row.ci_half is None:
            raise unreadable("ci", "an interval such as [86.4, 86.9], 86.4 to 86.9 or ± 0.25")
    if row.ci_low and row.ci_high and row.ci_low.value > row.ci_high.value:
        raise UsageError(
            f"{title}, line {line} ({name!r}): the interval's lower end {row.ci_low.value:g} is "
            f"above its upper end {row.ci_high.value:g}"
        )
    return row


def _with_interval(row: PublishedRow, cell: str) -> PublishedRow:
    ends = parse_pair(cell)
    if ends is not None:
        return replace(row, ci_low=ends[0], ci_high=ends[1])
    both = parse_plus_minus(cell)
    if both is not None:
        return replace(row, ci_half=both[1])
    return replace(row, ci_half=parse_number(clean(cell).removeprefix("±").removeprefix("+/-")))


def _spread_of(header: str) -> Spread:
    words = set(re.findall(r"[a-z]+", clean(header).lower()))
    error = words & {"std", "standard"} and words & {"err", "error"}
    if error or words & {"se", "sem", "stderr"}:
        return "se"
    return "ci" if words & {"ci", "interval", "confidence"} else "sd"


def _with_spread(row: PublishedRow, kind: Spread, spread: Printed) -> PublishedRow:
    if kind == "se":
        return replace(row, se=spread)
    return replace(row, ci_half=spread) if kind == "ci" else replace(row, sd=spread)


def _count(
    printed: Printed | None, default: int | None, unreadable: Callable[[], UsageError]
) -> int | None:
    if printed is None:
        return default
    if not 1 <= printed.value <= MAX_RUNS or not printed.value.is_integer():
        raise unreadable()
    return int(printed.value)


def _check_names(rows: Sequence[PublishedRow], title: str) -> None:
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{title} has two rows named {twice!r}; give each its own name")


def _largest(rows: Sequence[PublishedRow]) -> float:
    return max(abs(row.mean.value) for row in rows if row.mean is not None)


def _baseline(rows: Sequence[PublishedRow]) -> str:
    named = (row.name for row in rows if row.name.strip().lower() in {"relu", "nn.relu"})
    return next(named, rows[0].name)


def find_reference(rows: Sequence[PublishedRow], baseline: str) -> str:
    """Return the row that printed comparisons refer to: the only one without them, if others have.

    Else it is the baseline.
    """
    without = [row.name for row in rows if not row.is_tested]
    return without[0] if len(without) == 1 and len(rows) > 1 else baseline


def find_row(name: str, rows: Sequence[PublishedRow], title: str) -> str:
    """Return the name of a row as the table has it, whatever its case.

    Raises:
        UsageError: there is no such row.
    """
    names = [row.name for row in rows]
    for found in names:
        if found.lower() == clean(name).lower():
            return found
    raise UsageError(f"{title} has no row {name!r}{did_you_mean(name, names)}")
