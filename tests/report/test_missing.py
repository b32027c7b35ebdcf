"""A report is written whatever the records lack, and every document shows what was lost."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actbench.analysis.frames import Frames
from actbench.cli.summary import print_summary
from actbench.report.html import to_html
from actbench.report.sentences import verdict_sentences
from actbench.report.studies import studies_files
from actbench.report.summary import summary_of
from actbench.report.warnings import study_warnings
from actbench.report.write import derived_files, write_documents
from actbench.store.record import TrialRecord
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.made_studies import made_frames, made_records, made_study
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from pathlib import Path

STUDY = Study(
    activations=("relu", "leaky_relu:0.1", "leaky_relu:0.3"),
    seeds=2,
    epochs=2,
    corruptions=("gaussian_noise", "fog"),
    attacks=("fgsm",),
    epsilons=(2 / 255, 8 / 255),
)
SPREAD = (0.0, 0.004, -0.003, 0.002, -0.005, 0.001, 0.003, -0.001, 0.005, -0.002)


def without_an_epoch(record: TrialRecord) -> TrialRecord:
    return dataclasses.replace(record, history=record.history[1:])


def without_a_layer(record: TrialRecord) -> TrialRecord:
    history = tuple(
        dataclasses.replace(epoch, grad_norms=dict(list(epoch.grad_norms.items())[1:]))
        for epoch in record.history
    )
    inactive = dict(list(record.inactive.items())[1:])
    return dataclasses.replace(record, history=history, inactive=inactive)


def diverged(record: TrialRecord) -> TrialRecord:
    return TrialRecord(
        trial_id=record.trial_id,
        activation=record.activation,
        seed=record.seed,
        status="diverged",
        reason="loss inf at epoch 2, step 1",
        history=record.history[:1],
    )


def less(**fields: Any) -> Any:
    return lambda record: dataclasses.replace(record, **fields)


WAYS = {
    "whole": lambda record: record,
    "absent": lambda record: None,
    "diverged": diverged,
    "diverged at once": lambda record: dataclasses.replace(diverged(record), history=()),
    "crashed": lambda record: dataclasses.replace(diverged(record), status="crashed", history=()),
    "an epoch": without_an_epoch,
    "all epochs": less(history=()),
    "a layer": without_a_layer,
    "all layers": lambda record: without_a_layer(without_a_layer(without_a_layer(record))),
    "a corruption": lambda r: dataclasses.replace(r, corruptions=r.corruptions[5:]),
    "a severity": lambda r: dataclasses.replace(r, corruptions=r.corruptions[:-1]),
    "all corruptions": less(corruptions=(), corrupted_correct=""),
    "an attack": lambda r: dataclasses.replace(r, attacks=r.attacks[1:]),
    "all attacks": less(attacks=(), masking=None),
    "accuracy": less(clean_accuracy=None, clean_loss=None, clean_ece=None, clean_correct=""),
    "diagnostics": less(inactive={}, inactive_fraction=None),
}


def frames_with(ways: tuple[str, ...], study: Study = STUDY) -> Frames | None:
    """Return the frames of a study changed in these ways, activation by activation."""
    records = {}
    found = synthetic_records(study)
    order = sorted(found, key=lambda name: study.activations.index(found[name].activation))
    for name, way in zip(order, ways, strict=True):
        record = found[name]
        if (changed := WAYS[way](record)) is not None:
            records[name] = changed
    return Frames(study, records) if records else None


def check_tables(frames: Frames) -> None:
    files = derived_files(frames)
    page = to_html(frames, {}, {}, "0")
    for text in (
        files["summary.md"],
        files["summary.tex"],
        re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.S),
    ):
        assert "nan" not in re.findall(r"[a-z]+", text.lower())
        assert "[–" not in text
    summary_of(frames)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("whole", "absent")])
def test_the_tables_are_made_whatever_an_activation_lacks(way: str) -> None:
    for ways in ((*["whole"] * 4, way, way), (way, way, *["whole"] * 4), (way,) * 6):
        frames = frames_with(ways)
        assert frames is not None
        check_tables(frames)


@pytest.mark.parametrize(
    "ways",
    [
        ("whole", "diverged", "a corruption", "an attack", "an epoch", "an epoch"),
        ("whole", "a layer", "accuracy", "accuracy", "diverged", "absent"),
        ("all epochs", "all epochs", "all attacks", "all corruptions", "all layers", "all layers"),
        ("accuracy", "accuracy", "diagnostics", "a severity", "diverged at once", "crashed"),
        ("diverged at once",) * 6,
    ],
    ids=" ".join,
)
def test_the_complete_report_is_written_whatever_is_missing(
    ways: tuple[str, ...], tmp_path: Path
) -> None:
    frames = frames_with(ways)
    assert frames is not None
    write_documents(Store(tmp_path), frames)
    assert (tmp_path / "report.html").stat().st_size > 0


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.tuples(*[st.sampled_from(sorted(WAYS))] * 6))
def test_the_tables_are_made_whatever_pattern_is_missing(ways: tuple[str, ...]) -> None:
    frames = frames_with(ways)
    if frames is not None:
        check_tables(frames)


def test_a_mean_over_corruptions_needs_all_of_them() -> None:
    frames = frames_with(("a corruption", "a severity", *["whole"] * 4))
    assert frames is not None
    first = frames.trials.iloc[:2]
    assert first["corrupted_accuracy"].isna().all()
    assert first["clean_accuracy"].notna().all()
    assert frames.metric_values["accuracy_fog"].isna().tolist() == [False, True, *[False] * 4]


def test_equal_accuracies_have_a_drop_of_exactly_zero() -> None:
    equal = 5 / 360
    assert equal - math.fsum([equal] * 5) / 5 != 0  # rounding, which is no drop
    study = made_study({"relu": (equal,)}, corruptions=("fog",))
    ((name, record),) = made_records({"relu": (equal,)}, study).items()
    scores = tuple(dataclasses.replace(score, accuracy=equal) for score in record.corruptions)
    frames = Frames(study, {name: dataclasses.replace(record, corruptions=scores)})
    assert frames.trials["accuracy_drop"].tolist() == [0.0]


# lost trials


def lossy(lost: int, n: int = 10) -> Frames:
    """A study in which slope 0.3 is a little better on the seeds on which it does not diverge."""
    good = tuple(0.71 + 0.01 + v for v in SPREAD[:n])
    accuracies = {"relu": tuple(0.71 + v / 2 for v in SPREAD[:n]), "leaky_relu:0.3": good}
    study = made_study(accuracies)
    records = made_records(accuracies, study)
    ours = [name for name, r in records.items() if r.activation != "relu"][:lost]
    return Frames(study, {k: diverged(r) if k in ours else r for k, r in records.items()})


def test_lost_seeds_are_in_the_sentence_and_first_in_every_document(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    frames = lossy(4)
    (sentence,) = verdict_sentences(frames)
    assert "n = 6 of 10 seeds" in sentence
    assert "Left out: 4 of 10 seeds of leaky_relu:0.3 diverged." in sentence
    assert "With diverged trials scored as chance: corrupted accuracy −19.70 points" in sentence
    told = "No result: 4 of 10 seeds of leaky_relu:0.3 diverged."
    files = derived_files(frames)
    assert files["summary.md"].splitlines()[2].startswith(f"**Warning:** {told}")
    assert "## With diverged trials scored as chance" in files["summary.md"]
    assert told.replace("_", "\\_") in files["summary.tex"]
    page = to_html(frames, {}, {}, "0")
    assert page.index("With diverged trials scored as chance") > page.index(told) > 0
    print_summary(summary_of(frames), tmp_path, as_json=False)
    assert capsys.readouterr().out.startswith(f"⚠ {told}")


def test_a_diverged_trial_is_scored_as_the_largest_class() -> None:
    frames = lossy(4)
    row = frames.sensitivity.set_index("metric").loc["clean_accuracy"]
    # 4 of 10 at 37/360 (digits), the others as they were
    ours = [37 / 360] * 4 + [0.72 + v for v in SPREAD[4:]]
    differences = np.array(ours) - (0.71 + np.array(SPREAD) / 2)
    assert row["n"] == 10
    assert row["difference"] == pytest.approx(differences.mean())
    assert lossy(0).sensitivity.empty
    assert list(pd.unique(frames.sensitivity["verdict"])) == ["worse"]


def test_without_a_class_share_nothing_is_scored_and_the_report_notes_it() -> None:
    frames = lossy(2)
    study = dataclasses.replace(frames.study, dataset="imagefolder", data_dir="/x")
    bare = Frames(study, {r.trial_id: r for r in frames.records})
    assert bare.sensitivity.empty
    assert "was not checked" in derived_files(bare)["summary.md"]
    stated = [dataclasses.replace(r, largest_class_share=0.25) for r in frames.records]
    assert Frames(study, {r.trial_id: r for r in stated}).class_share == 0.25


# chance and collapsed seeds


AT_CHANCE = {
    "relu": tuple(0.1 for _ in range(6)),
    "leaky_relu:0.3": (0.8, 0.9, 0.8, 0.9, 0.8, 0.9),
}


def test_a_baseline_at_chance_gives_no_verdict_about_accuracy_and_a_warning_first() -> None:
    frames = made_frames(AT_CHANCE)
    verdicts = frames.comparisons.set_index("metric")
    for metric in ("clean_accuracy", "corrupted_accuracy", "accuracy_drop", "clean_loss"):
        assert verdicts.loc[metric, "verdict"] == "no verdict"
        assert "the baseline is at chance" in verdicts.loc[metric, "note"]
    assert verdicts.loc["grad_norm_first", "verdict"] == "higher"
    assert not frames.undecided()  # further seeds would not help
    first, *_ = study_warnings(frames)
    assert first.startswith("relu, the baseline, is not above chance in 6 of 6 trials")
    assert "leaky_relu:0.3 in 6 of 6" in first
    assert derived_files(frames)["summary.md"].splitlines()[2].startswith("**Warning:** relu, the")
    files = studies_files({"one": frames, "two": made_frames(AT_CHANCE)})
    assert "**Warning:** two: relu, the baseline" in files["compare.md"]


def test_an_activation_at_chance_is_worse_than_a_baseline_that_trains() -> None:
    frames = made_frames({"relu": AT_CHANCE["leaky_relu:0.3"], "leaky_relu:0.3": AT_CHANCE["relu"]})
    assert set(frames.comparisons["verdict"][:1]) == {"worse"}
    assert frames.at_chance("leaky_relu:0.3") == 6
    assert "leaky_relu:0.3: 6 of 6 trials differ" in study_warnings(frames)[0]


def test_a_collapsed_seed_is_flagged_and_the_rank_test_is_set_against_the_t_test() -> None:
    relu = tuple(0.7 + v for v in SPREAD)
    ours = (*(0.72 + 2 * v for v in SPREAD[:9]), 0.1)
    frames = made_frames({"relu": relu, "leaky_relu:0.3": ours})
    assert frames.trials["flag"].tolist()[:-1] == [""] * 19
    assert frames.trials["flag"].iloc[-1] == "at chance"
    row = frames.comparisons.set_index("metric").loc["clean_accuracy"]
    assert (row["verdict"], row["verdict_wilcoxon"]) == ("undecided", "undecided")
    twenty = {"relu": relu * 2, "leaky_relu:0.3": (*(0.72 + 2 * v for v in SPREAD), *ours)}
    frames = made_frames(twenty)
    row = frames.comparisons.set_index("metric").loc["clean_accuracy"]
    assert (row["verdict"], row["verdict_wilcoxon"]) == ("undecided", "better")
    assert "the signed-rank test says better" in row["note"]
    assert "by ranks (Wilcoxon) better" in verdict_sentences(frames)[0]
    warnings = " ".join(study_warnings(frames))
    assert "leaky_relu:0.3: 1 of 20 trials differ from the rest: seed 19 at chance" in warnings
    assert "the t-test's verdict is undecided" in warnings


def test_few_pairs_have_no_verdict_by_ranks() -> None:
    for n, verdict in ((5, "no verdict"), (6, "better")):
        relu = tuple(0.7 + v for v in SPREAD[:n])
        frames = made_frames({"relu": relu, "mish": tuple(0.75 + 2 * v for v in SPREAD[:n])})
        assert frames.comparisons["verdict_wilcoxon"][0] == verdict


def test_equal_differences_of_few_pairs_show_no_interval() -> None:
    frames = made_frames({"relu": (0.7, 0.7), "mish": (0.75, 0.75)})
    assert "[–" not in "".join(derived_files(frames).values())
    assert "+5.00 points over relu, n = 2" in verdict_sentences(frames)[0]
