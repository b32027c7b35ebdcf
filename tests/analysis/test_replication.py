"""A claim's rows beside a study's: the rule by hand, and the numbers against scipy's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from actbench.analysis.claims import claim_from_toml, claim_names, claim_settings, read_claim
from actbench.analysis.frames import Frames
from actbench.analysis.protocol import NOT_STATED, protocol_differences
from actbench.analysis.replication import Side, judge, replicate
from actbench.analysis.unpaired import Estimate
from actbench.errors import UsageError
from actbench.study.study import Study, merged, trial_id
from helpers.made_studies import made_frames, made_records, made_study


def side(low: float, high: float, verdict: str, n: int = 5) -> Side:
    """A side whose 95 % t interval is this."""
    error = (high - low) / 2 / float(stats.t.ppf(0.975, n - 1))
    return Side((low + high) / 2, Estimate((low + high) / 2, error, n - 1), n, verdict)


@pytest.mark.parametrize(
    ("source", "here", "p_differ", "result", "reason"),
    [
        (side(1, 3, "better"), side(2, 4, "better"), 0.3, "reproduced", "better in both"),
        (side(-1, 1, "equivalent"), side(0, 1, "equivalent"), 0.5, "reproduced", "in both"),
        (side(1, 3, "better"), side(-2, -1, "worse"), 0.2, "contradicted", "worse here"),
        (side(1, 2, "better"), side(3, 4, "better"), 0.01, "contradicted", "better in both, but"),
        (side(1, 2, "better"), side(3, 4, "better"), 0.06, "not decidable", "may be chance"),
        (side(1, 2, "better"), side(-3, 0, "undecided"), 0.01, "contradicted", "do not overlap"),
        (side(1, 3, "better"), side(-1, 2, "undecided"), 0.01, "not decidable", "undecided here"),
        (side(-1, 3, "undecided"), side(1, 2, "better"), 0.9, "not decidable", "undecided in the"),
        (side(-1, 3, "undecided"), side(-1, 2, "undecided"), 0.9, "not decidable", "in both"),
        (side(0, 3, "better"), side(-0.3, 0.2, "equivalent"), 0.1, "not decidable", "t here"),
        (side(1, 3, "better"), side(1, 3, "no verdict"), 0.9, "not decidable", "no verdict here"),
        (Side(0.1, None, 1, "no verdict"), side(1, 2, "better"), math.nan, "not decidable", "= 1"),
        (side(1, 2, "better"), Side(3, None, 3, "undecided"), math.nan, "not decidable", "spread"),
        (Side(0.9, None, 1), side(0.8, 0.85, ""), math.nan, "not decidable", "comparison"),
    ],
    ids=str,
)  # fmt: skip
def test_the_rule(source: Side, here: Side, p_differ: float, result: str, reason: str) -> None:
    found = judge(source, here, p_differ, 0.05)
    assert found[0] == result
    assert reason in found[1]


ACCURACIES = {
    "relu": (0.860, 0.864, 0.868, 0.871),
    "mish": (0.869, 0.872, 0.877, 0.879),
    "tanh": (0.861, 0.864, 0.869, 0.871),
}


def welch(deviation: float) -> tuple[float, float]:
    """The standard error and degrees of freedom against Mish's ReLU, of 23 runs each."""
    shares = [(d / 100) ** 2 / 23 for d in (deviation, 0.584)]
    return math.sqrt(sum(shares)), sum(shares) ** 2 / sum(share**2 / 22 for share in shares)


def test_a_row_has_the_numbers_of_scipy() -> None:
    table = made_frames(ACCURACIES, claim="mish-squeezenet").replication.set_index("row")
    assert len(table) == 33  # the second table prints the same runs
    row = table.loc["Mish"]
    error, freedom = welch(0.3967)
    half = stats.t.ppf(0.975, freedom) * error
    assert row["source_ci_high"] == pytest.approx(0.0082 + half)
    ours = np.subtract(ACCURACIES["mish"], ACCURACIES["relu"])
    low, high = stats.t.interval(0.95, 3, ours.mean(), stats.sem(ours))
    assert (row["here_ci_low"], row["here_ci_high"]) == pytest.approx((low, high))
    assert (row["source_n"], row["here_n"]) == (23, 4)
    assert row["result"] == "reproduced"
    equal = [
        2 * stats.t.sf(abs(d - m) / math.hypot(e, s), (e**2 + s**2) ** 2 / (e**4 / f + s**4 / 3))
        for name, d, (e, f) in (("mish", 0.0082, welch(0.3967)), ("tanh", -0.0351, welch(0.6887)))
        for ours in [np.subtract(ACCURACIES[name], ACCURACIES["relu"])]
        for m, s in [(ours.mean(), stats.sem(ours))]
    ]
    assert row["p_differ_holm"] == pytest.approx(max(equal))  # Holm leaves the larger of two
    tanh = table.loc["Tanh"]
    assert tanh["result"] == "contradicted"
    assert (
        tanh["reason"] == "worse in the source, equivalent here, but the intervals do not overlap"
    )
    assert table.loc["GELU", "reason"] == "gelu was not run"
    assert table.loc["SQNL", "reason"] == "actbench does not have it"
    assert (table["result"] == "not measured").sum() == 31


def test_errors_are_turned_into_accuracies_and_one_run_decides_nothing() -> None:
    values = {"relu": (0.86, 0.87, 0.88), "rrelu": (0.87, 0.885, 0.89)}
    table = made_frames(values, claim="xu-2015-nin").replication.set_index("row")
    assert table.loc["RReLU", "source"] == pytest.approx(0.1245 - 0.1119)
    assert table.loc["RReLU", "result"] == "not decidable"
    assert table.loc["RReLU", "reason"] == "no interval, as n = 1, in the source"


def test_corrupted_rows_need_all_their_corruptions_and_their_severity() -> None:
    noises = ("gaussian_noise", "shot_noise", "impulse_noise")
    values = {"relu": (0.86, 0.87), "mish": (0.87, 0.885)}
    frames = made_frames(values, claim="layeract-resnet32", corruptions=noises)
    mish = frames.replication[frames.replication["row"] == "Mish"].set_index("table")
    measured = mish[mish["result"] != "not measured"]
    assert [title.rsplit(",", 2)[-2] for title in measured.index] == [
        " CIFAR-10",
        " the group noise",
    ]
    assert measured["here"].tolist() == pytest.approx([0.0125, 0.0125])
    weather = mish.loc[mish.index.str.contains("weather")]
    assert weather["reason"].item() == "its corruptions were not measured"
    without = ("snow", "fog", "brightness")
    frames = made_frames(values, claim="layeract-resnet32", corruptions=without)
    (row,) = frames.replication[
        frames.replication["table"].str.contains("weather") & (frames.replication["row"] == "Mish")
    ].to_dict("records")
    assert row["reason"] == "without frost, which needs the published files"
    alone = made_frames({"relu": (0.9, 0.91)}, claim="robustbench-standard").replication
    (row,) = alone[alone["row"] == "gaussian_noise, severity 3"].to_dict("records")
    assert (row["source"], row["here"]) == pytest.approx((0.3919, 0.905 - 0.1))
    assert row["result"] == "not decidable"


def test_another_baseline_is_that_of_the_source_too_or_nothing_is_compared() -> None:
    values = {"silu": (0.86, 0.87, 0.88), "mish": (0.87, 0.885, 0.89)}
    frames = made_frames(values, claim="mish-squeezenet", baseline="silu")
    row = frames.replication.set_index("row").loc["Mish"]
    assert row["source"] == pytest.approx(0.8748 - 0.8732)
    own = made_frames({"mine:f": values["silu"], "mish": values["mish"]}, baseline="mine:f")
    table = replicate(read_claim("mish-squeezenet"), own).set_index("row")
    assert table.loc["Mish", "reason"] == "the source has no row of mine:f, the baseline here"
    assert set(table["result"]) == {"not measured"}


def test_a_study_without_all_its_trials_is_not_decided() -> None:
    study = made_study(ACCURACIES, claim="mish-squeezenet")
    records = made_records(ACCURACIES, study)
    some = {k: r for k, r in records.items() if r.activation != "mish" or r.seed == 0}
    none = {k: r for k, r in records.items() if r.activation != "mish"}
    for kept, n in ((some, 1), (none, 0)):
        row = Frames(study, kept).replication.set_index("row").loc["Mish"]
        assert row["result"] == "not decidable"
        assert row["reason"] == f"no interval, as n = {n}, here"


@pytest.mark.parametrize("name", claim_names())
def test_a_study_as_claimed_departs_in_nothing(name: str) -> None:
    claim = read_claim(name)
    study = Study(**claim_settings(name))
    found = protocol_differences(claim, study)
    departs = [each.setting for each in found if each.source != NOT_STATED]
    assert departs == (["corrupted images"] if claim.corrupted_images else [])
    stated = {each.setting.replace(" ", "_") for each in found if each.source == NOT_STATED}
    assert not stated & claim.study.keys()


def test_overrides_are_differences() -> None:
    settings = claim_settings("mish-squeezenet", 0.1)
    changes = {"activations": ["relu", "mish"], "learning_rate": 0.01, "label_smoothing": 0.1}
    study = Study(**merged(settings, changes, {"steps": 70}))
    found = protocol_differences(read_claim("mish-squeezenet"), study)
    by_setting = {setting: (source, here) for setting, source, here in found}
    assert by_setting["learning rate"] == ("0.001", "0.01")
    assert by_setting["label smoothing"] == ("not stated", "0.1")
    assert by_setting["seeds"] == ("23", "2")
    assert by_setting["activations"][1].startswith("without silu, gelu, ")
    assert "optimizer" not in by_setting


def test_a_scale_cuts_what_takes_time() -> None:
    trial = claim_settings("layeract-resnet32", 0.1)
    assert trial["steps"] == 6400
    assert trial["seeds"] == [11, 22, 33]
    assert claim_settings("mish-squeezenet", 0.001)["epochs"] == 1
    assert claim_settings("mish-squeezenet", 0.001)["seeds"] == [0, 1]
    assert claim_settings("robustbench-standard", 0.5)["epochs"] == 5  # of the default
    assert claim_settings("mish-squeezenet")["epochs"] == 50


def test_neither_claim_nor_scale_changes_a_trial() -> None:
    study = Study(**claim_settings("mish-squeezenet"))
    plain = dataclasses.replace(study, claim="", scale=1.0)
    trial = study.trials()[3]
    assert trial_id(study, trial) == trial_id(plain, trial)
    with pytest.raises(UsageError, match=r"scale is 0\.1, .*; give claim too"):
        Study(scale=0.1)


def test_a_claim_of_values_with_spread_keeps_its_interval() -> None:
    text = """
title = "t"
statement = "s."
source = "s"
url = "https://example.org"
[study]
dataset = "cifar10"
model = "cnn"
[[tables]]
title = "t"
metric = "clean_accuracy"
unit = "percent"
rows = [{ name = "relu", activation = "relu", mean = "86", sd = "1.5", n = 9 }]
"""
    (row,) = replicate(claim_from_toml(text, "t"), made_frames(ACCURACIES)).to_dict("records")
    half = stats.t.ppf(0.975, 8) * 0.015 / 3
    assert (row["source_ci_low"], row["source_ci_high"]) == pytest.approx(
        (0.86 - half, 0.86 + half)
    )
    assert row["result"] == "not decidable"
