"""Audits of published tables: differences, tests and verdicts, recomputed with scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from actbench.analysis.audit import AuditOptions, audit, audit_if_paired, audit_table
from actbench.analysis.claims import read_claim
from actbench.analysis.printed import parse_number
from actbench.analysis.published_tables import PublishedTable, ReadingOptions, read_table
from actbench.analysis.text_tables import parse_tables
from actbench.errors import UsageError

TABLE = "a,acc,sd,n\nrelu,80,0.5,5\nmish,81.5,0.4,5\nelu,80.1,0.1,8\ntanh,77,2,5\n"
PAIRED = AuditOptions(correlations=(0.5,))


def table(text: str = TABLE, **options: object) -> PublishedTable:
    return read_table(parse_tables(text, "t")[0], "t", ReadingOptions(**{"columns": {}, **options}))


def test_the_published_table_of_mish_as_scipy_computes_it() -> None:
    claim = read_claim("mish-squeezenet").tables[0].table
    rows = audit_table(claim, AuditOptions()).set_index("name")
    relu = claim.row("ReLU")
    p_values = {}
    for row in claim.rows:
        if row.name == "ReLU":
            continue
        figures = [(r.mean.value, r.sd.value, r.n) for r in (row, relu) if r.mean and r.sd]
        found = stats.ttest_ind_from_stats(*figures[0], *figures[1], equal_var=False)
        p_values[row.name] = found.pvalue
        (mean, sd, n), (mean_0, sd_0, n_0) = figures
        parts = sd**2 / n, sd_0**2 / n_0
        freedom = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (n_0 - 1))
        half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
        ours = 100 * rows.loc[row.name, ["difference", "ci_low", "ci_high"]].to_numpy(float)
        difference = mean - mean_0
        assert ours == pytest.approx([difference, difference - half, difference + half])
    expected = multipletests(list(p_values.values()), method="holm")[1]
    assert rows.loc[list(p_values), "p_value"].tolist() == pytest.approx(list(p_values.values()))
    assert rows.loc[list(p_values), "p_holm"].tolist() == pytest.approx(expected)
    leaky = rows.loc["Leaky ReLU(α=0.3)"]
    assert leaky["verdict"] == "undecided"
    assert round(leaky["p_value"], 2) == 0.23
    assert round(100 * leaky["minimum_detectable_effect"], 2) == 0.44


@pytest.mark.parametrize("header", ["Std. Error", "std err", "Standard Error", "SEM"])
def test_a_standard_error_is_not_taken_for_a_deviation(header: str) -> None:
    rows = "relu,86.66,0.58,5\nmish,87.85,0.46,5\n"
    expected = audit_table(table(f"a,acc,se,n\n{rows}"), AuditOptions())
    for text in (f"a,acc,{header},n\n{rows}", rows.replace(",0.", " ± 0.")):
        head = "" if text.startswith("a,") else f"a,acc ± {header},n\n"
        found = audit_table(table(head + text), AuditOptions())
        assert found["ci_low"].tolist() == expected["ci_low"].tolist()


def test_the_level_of_an_interval_may_be_in_the_header_of_the_mean() -> None:
    rows = "relu,86.66 ± 0.58,5\nmish,87.85 ± 0.46,5\n"
    wide, narrow = (
        audit_table(table(f"a,acc ± {level}% CI,n\n{rows}"), AuditOptions()) for level in (95, 99)
    )
    assert narrow["ci_low"].item() > wide["ci_low"].item()


@pytest.mark.parametrize("head", ["a,error rate (%),sd,n\n", "a,error rate,sd,n\n"])
def test_a_sign_for_percent_is_read(head: str) -> None:
    sign = "" if "%" in head else " %"
    text = f"{head}relu,0.42{sign},0.05,5\nmish,0.35{sign},0.05,5\n"
    assert audit_table(table(text), AuditOptions())["difference"].item() == pytest.approx(-7e-4)


def test_spreads_whose_powers_are_zero_are_compared() -> None:
    text = "a,acc,sd,n\nrelu,80,0,5\nmish,81,1e-50,5\n"
    for options in (AuditOptions(), PAIRED):
        assert audit_table(table(text), options)["verdict"].item() == "better"
    with pytest.raises(UsageError, match="cannot read '1e-90'"):
        table("a,acc,sd,n\nrelu,80,1e-90,5\nmish,81,1e-90,5\n")


def test_verdicts_are_those_of_the_tool() -> None:
    rows = audit_table(table(), AuditOptions()).set_index("name")
    assert rows["verdict"].to_dict() == {"mish": "better", "elu": "undecided", "tanh": "undecided"}
    wide = audit_table(table(), AuditOptions(margin=0.02)).set_index("name")
    assert wide.loc["elu", "verdict"] == "equivalent"
    errors = audit_table(table(), AuditOptions(better="lower")).set_index("name")
    assert errors.loc["mish", "verdict"] == "worse"


def test_an_undecided_row_needs_more_seeds_than_it_has() -> None:
    rows = audit_table(table(), AuditOptions()).set_index("name")
    for name in ("elu", "tanh"):
        assert rows.loc[name, "seeds_needed"] > rows.loc[name, "n"]


def test_pairs_with_a_correlation() -> None:
    rows = audit_table(table(), PAIRED).set_index("name")
    deviation = math.sqrt(0.5**2 + 0.4**2 - 2 * 0.5 * 0.5 * 0.4)
    statistic = 1.5 / (deviation / math.sqrt(5))
    assert rows.loc["mish", "p_value"] == pytest.approx(2 * stats.t.sf(statistic, 4))
    assert rows.loc["mish", "correlation"] == 0.5
    assert rows.loc["elu", "verdict"] == "no verdict"
    assert rows.loc["elu", "note"] == "unequal numbers of runs cannot be pairs"
    assert len(audit_if_paired(table(), PAIRED)) == 0


def test_plausible_correlations_make_intervals_narrower() -> None:
    rows = audit_if_paired(table(), AuditOptions())
    tanh = rows[rows["name"] == "tanh"]
    widths = (tanh["ci_high"] - tanh["ci_low"]).tolist()
    assert tanh["correlation"].tolist() == [0, 0.25, 0.5, 0.75]
    assert widths == sorted(widths, reverse=True)


def test_a_standard_error_or_interval_stands_in_for_the_deviation() -> None:
    half = float(stats.t.ppf(0.975, 4)) * 0.5 / math.sqrt(5)
    texts = [
        f"a,acc,se,n\nrelu,80,{0.5 / math.sqrt(5)!r},5\nmish,81,{0.5 / math.sqrt(5)!r},5\n",
        f'a,acc,ci,n\nrelu,80,"[{80 - half!r}, {80 + half!r}]",5\nmish,81,± {half!r},5\n',
    ]
    plain = audit_table(table("a,acc,sd,n\nrelu,80,0.5,5\nmish,81,0.5,5\n"), AuditOptions())
    for text in texts:
        found = audit_table(table(text), AuditOptions())
        assert found["p_value"].tolist() == pytest.approx(plain["p_value"].tolist())


def test_fractions_and_percent_give_the_same() -> None:
    fractions = "a,acc,sd,n\nrelu,.80,.005,5\nmish,.815,.004,5\nelu,.801,.001,8\ntanh,.77,.02,5\n"
    one, other = (audit_table(table(text), AuditOptions()) for text in (TABLE, fractions))
    for column in ("difference", "ci_low", "p_holm", "minimum_detectable_effect", "seeds_needed"):
        assert one[column].tolist() == pytest.approx(other[column].tolist())


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("a,acc,sd,n\nrelu,80,1,1\nmish,81,1,5\n", "one run of relu only"),
        ("a,acc,sd,n\nrelu,80,1,5\nmish,81,1,1\n", "one run only"),
        ("a,acc,sd,n\nrelu,80,1,5\nmish,81,-,5\n", "no standard deviation, so"),
        ("a,acc,sd,n\nrelu,80,-,5\nmish,81,1,5\n", "no standard deviation of relu"),
        ("a,acc\nrelu,80\nmish,81\n", "no number of runs"),
        ("a,acc,sd,n\nrelu,80,0,5\nmish,81,0.00,5\n", "no spread"),
    ],
)
def test_what_cannot_be_tested_has_no_verdict_and_says_why(text: str, note: str) -> None:
    (row,) = audit_table(table(text), AuditOptions()).to_dict("records")
    assert row["verdict"] == "no verdict"
    assert row["note"].startswith(note)
    assert np.isfinite(row["difference"])
    assert math.isnan(row["p_value"])


def test_values_without_a_baseline_are_not_compared() -> None:
    claim = read_claim("robustbench-standard")
    found = audit(claim.tables[1].table, AuditOptions(), 10_000)
    assert len(found.rows) == len(found.if_paired) == 0


def test_nothing_is_taken_from_what_the_table_concludes() -> None:
    claim = read_claim("mish-squeezenet").tables[0].table
    assert parse_number("< 0.0001") == claim.row("ReLU").p
    printed = audit_table(claim, AuditOptions())
    rows = tuple(type(row)(row.name, mean=row.mean, sd=row.sd, n=row.n) for row in claim.rows)
    bare = PublishedTable("t", rows, "percent", "ReLU", "Mish")
    assert audit_table(bare, AuditOptions()).equals(printed)
