"""Printed statistics: what rounding made is never called wrong, and planted errors are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actbench.analysis.claims import read_claim
from actbench.analysis.consistency import (
    DOES_NOT_FOLLOW,
    FOLLOWS,
    IF_PAIRED,
    KINDS,
    Check,
    check_table,
)
from actbench.analysis.published_tables import PublishedRow, PublishedTable
from helpers.printed_tables import printed, printed_table

IMAGES = 10_000
DECIMALS = {"mean": 2, "sd": 3, "ci": 3, "p": 4, "d": 3, "difference": 2}


def runs(
    seed: int, sizes: tuple[int, int], deviations: tuple[float, float], shift: float
) -> dict[str, np.ndarray]:
    """Return accuracies in percent, each a share of the test images."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, n, sd, mean in zip(
        ("relu", "mish"), sizes, deviations, (80, 80 + shift), strict=True
    ):
        values = np.round(rng.normal(mean, sd, n) * IMAGES / 100) * 100 / IMAGES
        found[name] = values if np.ptp(values) else values + np.arange(n) * 100 / IMAGES
    return found


def by_kind(table: PublishedTable, row: str = "mish") -> dict[str, Check]:
    return {c.kind: c for c in check_table(table, IMAGES) if c.name == row}


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(2, 30), st.integers(2, 30)),
    deviations=st.tuples(st.floats(0.05, 5), st.floats(0.05, 5)),
    shift=st.floats(-5, 5),
    decimals=st.fixed_dictionaries({key: st.integers(0, 7) for key in DECIMALS}),
    test=st.sampled_from(["student", "welch"]),
    interval=st.sampled_from(["mean", "difference"]),
)
def test_a_table_that_was_made_by_rounding_is_never_flagged(
    seed: int,
    sizes: tuple[int, int],
    deviations: tuple[float, float],
    shift: float,
    decimals: dict[str, int],
    test: str,
    interval: str,
) -> None:
    made = runs(seed, sizes, deviations, shift)
    table = printed_table(made, decimals, test=test, interval=interval)
    wrong = [c for c in check_table(table, IMAGES) if c.result != FOLLOWS]
    assert wrong == []


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(3, 30),
    deviations=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    shift=st.floats(-3, 3),
    decimals=st.fixed_dictionaries({key: st.integers(1, 6) for key in DECIMALS}),
)
def test_a_paired_analysis_is_not_called_wrong(
    seed: int, n: int, deviations: tuple[float, float], shift: float, decimals: dict[str, int]
) -> None:
    made = runs(seed, (n, n), deviations, 0)
    made["mish"] = made["mish"] + 0.8 * (made["relu"] - 80) + shift
    table = printed_table(made, decimals, test="paired")
    results = {c.result for c in check_table(table) if c.kind in ("interval", "p-value")}
    assert results <= {FOLLOWS, IF_PAIRED}


def test_the_correlation_that_pairs_need_is_the_true_one() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, 12)
    made = {"relu": 80 + shared, "mish": 80.6 + shared + rng.normal(0, 0.5, 12)}
    table = printed_table(made, dict.fromkeys(DECIMALS, 9), test="paired")
    r = np.corrcoef(made["relu"], made["mish"])[0, 1]
    for kind in ("interval", "p-value"):
        check = by_kind(table)[kind]
        assert check.result == IF_PAIRED
        assert check.how.endswith(f"a correlation of {r:.2f}")


MADE = runs(1, (23, 23), (0.6, 0.4), 0.8)
TABLE = printed_table(MADE, DECIMALS)


def changed(**values: object) -> PublishedTable:
    row = replace(TABLE.row("mish"), **values)
    return replace(TABLE, rows=(TABLE.rows[0], row))


def test_every_kind_of_statistic_is_checked() -> None:
    exact = printed_table(MADE, {**DECIMALS, "mean": 6})
    assert set(by_kind(exact)) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "field", "factor"),
    [
        ("p-value", "p", 30),
        ("effect size", "d", 1.2),
        ("difference", "difference", 1.5),
        ("standard error", "se", 1.2),
    ],
)
def test_a_planted_error_is_found(kind: str, field: str, factor: float) -> None:
    number = getattr(TABLE.row("mish"), field)
    value = max(factor * number.value, 0.9) if field == "p" else factor * number.value
    wrong = changed(**{field: printed(value, 4)})
    assert by_kind(wrong)[kind].result == DOES_NOT_FOLLOW
    others = {k: c.result for k, c in by_kind(wrong).items() if k != kind}
    assert set(others.values()) == {FOLLOWS}


def test_a_wrong_interval_says_what_is_wrong_with_it() -> None:
    row = TABLE.row("mish")
    assert row.ci_low is not None
    assert row.ci_high is not None
    low, high = row.ci_low.value, row.ci_high.value
    moved = by_kind(changed(ci_low=printed(low + 0.2, 3), ci_high=printed(high + 0.2, 3)))
    assert moved["interval"].result == DOES_NOT_FOLLOW
    assert moved["interval"].how.startswith("its middle is")
    wide = by_kind(changed(ci_low=printed(low - 1, 3), ci_high=printed(high + 1, 3)))
    assert wide["interval"].result == DOES_NOT_FOLLOW
    assert "its half-width is" in wide["interval"].how
    assert "pairs would need a correlation of −" in wide["interval"].how.replace("-", "−")


def test_a_wrong_mean_breaks_what_depends_on_it() -> None:
    mean = TABLE.row("mish").mean
    assert mean is not None
    found = by_kind(changed(mean=printed(mean.value + 0.5, 2)))
    wrong = {kind for kind, check in found.items() if check.result == DOES_NOT_FOLLOW}
    assert wrong == {"interval", "effect size", "difference"} | (wrong & {"p-value"})


def test_a_normal_interval_and_digits_that_were_cut_off_are_recognised() -> None:
    sd, n = 0.5, 5
    half = 1.96 * sd / n**0.5
    row = PublishedRow("relu", mean=printed(80, 2), sd=printed(sd, 2), n=n)
    normal = replace(row, ci_half=printed(half, 4))
    table = PublishedTable("t", (normal,), "percent", "", "relu")
    assert [c.how for c in check_table(table)] == ["normal interval of the mean"]
    exact = replace(row, sd=printed(sd, 9))
    cut = replace(exact, ci_half=printed(int(half * 1e2) / 1e2, 2))
    (check,) = check_table(replace(table, rows=(cut,)))
    assert check.result == FOLLOWS
    assert check.how.endswith("if digits were cut off or rounded up")


@pytest.mark.parametrize(
    ("mean", "n", "result"),
    [
        ("87.37087", 23, FOLLOWS),
        ("87.37083", 23, DOES_NOT_FOLLOW),
        ("87.37086", 23, FOLLOWS),
        ("87.37", 1, None),
        ("87.375", 1, DOES_NOT_FOLLOW),
        ("87.3333", 3, FOLLOWS),
    ],
)
def test_a_mean_of_shares_of_test_images(mean: str, n: int, result: str | None) -> None:
    """The steps are 100 / (n · 10,000) points: 0.000435 for n = 23, 0.01 for n = 1."""
    row = PublishedRow("relu", mean=printed(float(mean), len(mean.partition(".")[2])), n=n)
    checks = check_table(PublishedTable("t", (row,), "percent", "", "relu"), IMAGES)
    assert [c.result for c in checks] == ([] if result is None else [result])


def test_the_published_table_of_mish() -> None:
    """31 of its 33 intervals follow; those of SoftPlus and ISRU do not."""
    claim = read_claim("mish-squeezenet")
    checks = check_table(claim.tables[0].table)
    wrong = [(c.name, c.kind) for c in checks if c.result != FOLLOWS]
    assert wrong == [
        ("SoftPlus(β = 1)", "interval"),
        ("ISRU (α=1.0)", "interval"),
        ("ISRU (α=1.0)", "effect size"),
    ]
    assert len([c for c in checks if c.kind == "interval"]) == 33
