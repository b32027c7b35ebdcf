"""Published tables: columns by their headers, cells, and messages about what cannot be read."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actbench.analysis.audit import AuditOptions, audit
from actbench.analysis.published_columns import find_columns
from actbench.analysis.published_tables import PublishedTable, ReadingOptions, read_table
from actbench.analysis.text_tables import parse_tables
from actbench.errors import UsageError
from actbench.report.audit import AuditDocument, audit_markdown

MISH = """
| Activation Function | Mean Accuracy | Loss | Standard Deviation of Accuracy | P-value | 95% CI |
|:---:|:---:|:---:|:---:|:---:|:---:|
| Mish | 87.48% | 4.13% | 0.3967 | - | - |
| ReLU | **86.66%** | 4.398% | 0.584 | P < 0.0001 | -1.1179 to -0.5247 |
| Leaky ReLU(α=0.3) | 86.85% | 4.112% | 0.4569 | P < 0.0001 | -0.8860 to -0.3774 |
"""


def read(text: str, **options: object) -> PublishedTable:
    return read_table(parse_tables(text, "t")[0], "t", ReadingOptions(**{"columns": {}, **options}))


def test_a_markdown_table() -> None:
    table = read(MISH, n=23)
    assert (table.baseline, table.reference, table.unit) == ("ReLU", "Mish", "percent")
    relu = table.row("ReLU")
    assert relu.mean is not None
    assert relu.sd is not None
    assert relu.ci_low is not None
    assert relu.p is not None
    assert (relu.mean.value, relu.sd.value, relu.n, relu.ci_low.value) == (
        86.66,
        0.584,
        23,
        -1.1179,
    )
    assert relu.p.sign == "<"
    assert table.row("Mish").p is None


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (
            ["Activation", "Peak Accuracy", "Mean Accuracy", "Standard Deviation of Accuracy"],
            {"name": 0, "mean": 2, "sd": 3},
        ),
        (["x", "Accuracy (mean ± sd)", "n"], {"name": 0, "mean": 1, "n": 2}),
        (["x", "Top-1 (%)", "S.D.", "#runs"], {"name": 0, "mean": 1, "sd": 2, "n": 3}),
        (
            ["method", "acc", "std", "seeds", "ci_low", "ci_high", "p"],
            {"name": 0, "mean": 1, "sd": 2, "n": 3, "ci_low": 4, "ci_high": 5, "p": 6},
        ),
        (
            ["Test Acc.", "SEM", "Cohen's d Score", "Δ", "Model"],
            {"mean": 0, "se": 1, "d": 2, "difference": 3, "name": 4},
        ),
        (["x", "mean", "standard error", "95% CI"], {"name": 0, "mean": 1, "se": 2, "ci": 3}),
    ],
)
def test_columns_are_known_by_their_headers(headers: list[str], found: dict[str, int]) -> None:
    assert find_columns(headers, {}) == found


def test_columns_by_hand() -> None:
    headers = ["acc A", "std", "acc B", "row"]
    assert find_columns(headers, {"mean": "Acc B", "name": "row"})["mean"] == 2


@pytest.mark.parametrize(
    ("headers", "given", "named"),
    [
        (["x", "std", "stdev"], {}, "'std' and 'stdev' may both be the sd"),
        (["x", "acc"], {"mean": "accu"}, "mean=accu: there is no such column; did you mean 'acc'"),
        (["x", "acc"], {"meen": "acc"}, "a column is one of name, mean"),
    ],
)
def test_unclear_columns_are_named(headers: list[str], given: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        find_columns(headers, given)


@pytest.mark.parametrize(
    ("header", "spread", "field"),
    [
        ("acc ± sd", None, "sd"),
        ("acc ± SEM", None, "se"),
        ("acc ± 95% CI", None, "ci_half"),
        ("acc", "se", "se"),
        ("acc", None, "sd"),
    ],
)
def test_what_follows_plus_minus_is_said_by_the_header(
    header: str, spread: str | None, field: str
) -> None:
    row = read(f"a;{header};n\nrelu;80 ± 1.5;5\n", spread=spread).row("relu")
    value = getattr(row, field)
    assert value is not None
    assert value.value == 1.5


def test_units_confidence_and_baseline_are_read() -> None:
    table = read('name,mean,sd,n,"90% CI"\nelu,0.80,0.01,5,"[0.79, 0.81]"\nReLU,.81,.01,5,\n')
    assert (table.unit, table.confidence, table.baseline) == ("fraction", 0.9, "ReLU")


def test_rows_without_a_mean_are_left_out_and_named() -> None:
    table = read("a,acc,sd,n\nrelu,80,1,5\nmish,-,1,5\ngroup,,,\nelu,81,1,5\n")
    assert [row.name for row in table.rows] == ["relu", "elu"]
    assert table.notes == ("mish is left out, as it has no mean",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a,acc,sd,n\nrelu,8O,1,5\n", r"line 2 \('relu'\), column 'acc': cannot read '8O'"),
        ("a,acc,sd,n\nrelu,80,x,5\n", "column 'sd': cannot read 'x'"),
        ("a,acc,sd,n\nrelu,80,-1,5\n", "column 'sd': cannot read '-1' as a spread"),
        ("a,acc,sd,n\nrelu,80,1,2.5\n", "column 'n': cannot read '2.5' as a number of runs"),
        ("a,acc,sd,n\nrelu,80,1,0\n", "column 'n': cannot read '0'"),
        ("a,acc,sd,n,p\nrelu,80,1,5,3\n", "column 'p': cannot read '3' as a p-value from 0 to 1"),
        ("a,acc,sd,n\nrelu,80,< 1,5\n", "column 'sd': cannot read '< 1'"),
        ("a,acc,n,ci\nrelu,80,5,wide\n", "column 'ci': cannot read 'wide' as an interval"),
        ('a,acc,n,ci\nrelu,80,5,"[3, 2]"\n', "lower end 3 is above its upper end 2"),
        ("a,loss\nrelu,1\n", "no column of means among 'a', 'loss'"),
        ("a,acc\nrelu,1\nrelu,2\n", "two rows named 'relu'"),
        ("a,acc\nrelu,-\n", "no row with a mean"),
        (
            "a,acc\nrelu,80\nelu,100.5\n",
            "mean of 'elu' is 100.5; .* from 0 to 100, in percent",
        ),
        ("a,acc\nrelu,-0.1\n", "mean of 'relu' is -0.1; .* from 0 to 1, in fractions"),
        ("a,acc\nrelu,1,2\n", "line 2: the row has 3 cells, but there are 2"),
        ("", "is empty"),
        ("hello", "no table"),
        ('a,acc\nrelu,"1\n', "line 2: not valid CSV"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        read(text)


def test_a_row_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="no row 'mich'; did you mean 'Mish'"):
        read(MISH, baseline="mich", n=23)


def test_every_table_of_a_text_is_read() -> None:
    text = f"# A page\n\n| a | b |\n|---|---|\n| x \\| y | 2 |\n\ntext\n{MISH}\nmore"
    tables = parse_tables(text, "t")
    assert [len(table.rows) for table in tables] == [1, 3]
    assert tables[0].rows == [["x | y", "2"]]
    assert tables[1].lines[0] == 11


NUMBERS = ["80", "80.5", "79.123", "0", "0.5", "0.00", "1", "2", "30", "1e-300", "100"]
CELLS = [*NUMBERS, "81 ± 0.3", "[80, 81]", "-1 to 2", "± 3", "-", "", "< 0.05", "nan", "1e400", "x"]


@settings(max_examples=20, deadline=None)
@given(
    others=st.lists(
        st.sampled_from(["std", "n", "ci", "p", "d", "diff", "se"]), max_size=7, unique=True
    ),
    rows=st.lists(
        st.tuples(
            st.sampled_from(NUMBERS), st.lists(st.sampled_from(CELLS), min_size=7, max_size=7)
        ),
        min_size=1,
        max_size=4,
    ),
    numbers_only=st.booleans(),
    n=st.sampled_from([None, 1, 2, 5]),
)
def test_any_table_is_audited_or_refused_in_words(
    others: list[str], rows: list[tuple[str, list[str]]], numbers_only: bool, n: int | None
) -> None:
    lines = [["a", "acc", *others], ["---"] * (2 + len(others))]
    for number, (mean, cells) in enumerate(rows):
        kept = [cell if cell in NUMBERS or not numbers_only else "1" for cell in cells]
        lines.append([f"row {number}", mean, *kept[: len(others)]])
    try:
        table = read("\n".join(f"| {' | '.join(line)} |" for line in lines), n=n)
    except UsageError:
        return
    found = audit(table, AuditOptions(), 10_000)
    assert "nan" not in audit_markdown(AuditDocument("t", [found]))


@given(st.text(max_size=200))
@example(",")
def test_any_text_at_all_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(UsageError):
        read(text)
