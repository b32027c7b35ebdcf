"""actbench compare --paired: each trial against its counterpart in the first study."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from actbench.analysis.paired_studies import ALL, PAIRED_COLUMNS, compare_paired_studies
from actbench.analysis.studies import read_studies
from actbench.errors import UsageError
from actbench.report.paired_studies import paired_studies_files
from helpers.made_studies import made_folder, made_frames
from helpers.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from actbench.analysis.frames import Frames

LEAKY = "leaky_relu:0.1"
FIRST = {"relu": (0.80, 0.81, 0.80, 0.82, 0.81), LEAKY: (0.82, 0.80, 0.81, 0.83, 0.80)}
OTHER = {"relu": (0.80, 0.81, 0.802, 0.82, 0.81), LEAKY: (0.86, 0.85, 0.85, 0.88, 0.84)}


@functools.cache
def first() -> Frames:
    """Return the frames of ``FIRST``; read-only."""
    return made_frames(FIRST)


@functools.cache
def other() -> Frames:
    """Return the frames of ``OTHER``; read-only."""
    return made_frames(OTHER)


def row_of(table: pd.DataFrame, activation: str, metric: str = "clean_accuracy") -> pd.Series:
    (row,) = table[(table["activation"] == activation) & (table["metric"] == metric)].iloc
    return row


def test_each_activation_is_paired_with_itself_by_seed() -> None:
    table = compare_paired_studies({"a": first(), "b": other()})
    assert tuple(table.columns) == PAIRED_COLUMNS
    p_values = {}
    for activation in FIRST:
        row = row_of(table, activation)
        test = stats.ttest_rel(OTHER[activation], FIRST[activation])
        assert row["difference"] == pytest.approx(
            np.mean(OTHER[activation]) - np.mean(FIRST[activation])
        )
        assert row["p_value"] == pytest.approx(test.pvalue)
        low, high = test.confidence_interval()
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
        p_values[activation] = row["p_value"]
    together = stats.ttest_rel(*(np.mean(list(s.values()), axis=0) for s in (OTHER, FIRST)))
    row = row_of(table, ALL)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((*together.confidence_interval(),))
    p_values[ALL] = together.pvalue
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    assert [row_of(table, a)["p_holm"] for a in p_values] == pytest.approx(list(corrected))
    assert row_of(table, LEAKY)["verdict"] == "better"
    assert row_of(table, "relu")["verdict"] == "equivalent"


def test_holms_correction_is_over_all_studies_and_activations() -> None:
    two = {"a": first(), "b": other()}
    three = {**two, "c": made_frames(OTHER)}
    alone, among = (
        row_of(compare_paired_studies(s).query("study == 'b'"), LEAKY) for s in (two, three)
    )
    assert alone["p_value"] == among["p_value"]
    assert among["p_holm"] == pytest.approx(2 * alone["p_holm"])


def test_a_mean_over_activations_needs_all_of_them() -> None:
    lacking = made_frames({"relu": OTHER["relu"], LEAKY: (*OTHER[LEAKY][:4], np.nan)})
    table = compare_paired_studies({"a": first(), "b": lacking})
    assert [row_of(table, name)["n"] for name in ("relu", LEAKY, ALL)] == [5, 4, 4]
    assert table["activation"].drop_duplicates().tolist() == ["relu", LEAKY, ALL]


def test_only_shared_trials_are_paired() -> None:
    fewer = made_frames({"relu": OTHER["relu"][:3], "mish": OTHER[LEAKY][:3]})
    table = compare_paired_studies({"a": first(), "b": fewer})
    assert set(table["activation"]) == {"relu"}
    assert row_of(table, "relu")["n"] == 3


def test_studies_without_a_shared_trial_are_refused() -> None:
    elsewhere = made_frames({"mish": FIRST[LEAKY]}, baseline="mish")
    with pytest.raises(UsageError, match="b shares no trial with a"):
        compare_paired_studies({"a": first(), "b": elsewhere})


def test_the_command_shows_what_differs_and_writes_both_files(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    one = made_folder(tmp_path / "one", FIRST)
    two = made_folder(tmp_path / "two", OTHER, precision="bf16", augment=("flip", "crop"))
    outcome = actbench_here("compare", "--paired", str(one), str(two), "--out", str(tmp_path / "o"))
    files = paired_studies_files(read_studies([one, two]))
    assert outcome == Outcome(0, files["paired.md"], "")
    assert "augment is auto there and flip, crop here; precision is fp32" in outcome.out
    assert f"| {LEAKY}" in outcome.out
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "o").iterdir()}
    assert written == files
    table = pd.read_csv(io.StringIO(written["paired.csv"]))
    assert row_of(table, LEAKY)["verdict"] == "better"
