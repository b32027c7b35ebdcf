"""A report is written whatever data are missing, and every document shows what is missing."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actbench.analysis.frames import Frames
from actbench.report.html import to_html
from actbench.report.write import derived_files, write_documents
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.made_studies import diverged, made_records, made_study
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.store.result import TrialResult

pytestmark = pytest.mark.figures

STUDY = Study(
    activations=("relu", "leaky_relu:0.1", "leaky_relu:0.3"),
    seeds=2,
    epochs=2,
    corruptions=("gaussian_noise", "fog"),
    attacks=("fgsm",),
    epsilons=(2 / 255, 8 / 255),
)


def without_an_epoch(record: TrialResult) -> TrialResult:
    return dataclasses.replace(record, history=record.history[1:])


def without_a_layer(record: TrialResult) -> TrialResult:
    history = tuple(
        dataclasses.replace(epoch, grad_norms=dict(list(epoch.grad_norms.items())[1:]))
        for epoch in record.history
    )
    inactive = dict(list(record.inactive.items())[1:])
    return dataclasses.replace(record, history=history, inactive=inactive)


def less(**fields: Any) -> Any:
    return lambda record: dataclasses.replace(record, **fields)


WAYS = {
    "complete": lambda record: record,
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
    "all corruptions": less(corruptions=(), corrupted_correct=()),
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


LACKING = [way for way in WAYS if way not in ("complete", "absent")]
TWO = list(zip(LACKING[::2], LACKING[1::2], strict=True))
IN_TWO = {*((last, 0) for last, _ in TWO), *((first, 1) for _, first in TWO)}
QUICK = {("a severity", 2), ("all attacks", 2)}


@pytest.mark.parametrize(("last", "first"), TWO)
def test_the_tables_are_made_whatever_two_activations_lack(last: str, first: str) -> None:
    """Each way once, in the last activation or in the baseline, beside a complete one."""
    frames = frames_with((first, first, "complete", "complete", last, last))
    assert frames is not None
    check_tables(frames)


@pytest.mark.parametrize(
    ("way", "where"),
    [
        pytest.param(way, where, marks=() if (way, where) in QUICK else pytest.mark.slow)
        for way in LACKING
        for where in range(3)
        if (way, where) not in IN_TWO
    ],
)
def test_the_tables_are_made_whatever_an_activation_lacks(way: str, where: int) -> None:
    """The last, the baseline, or every one lacks it."""
    rest = ["complete"] * 4
    frames = frames_with(((*rest, way, way), (way, way, *rest), (way,) * 6)[where])
    assert frames is not None
    check_tables(frames)


MORE_REPORTS = [
    ("complete", "diverged", "a corruption", "an attack", "an epoch", "an epoch"),
    ("complete", "a layer", "accuracy", "accuracy", "diverged", "absent"),
    ("all epochs", "all epochs", "all attacks", "all corruptions", "all layers", "all layers"),
    ("accuracy", "accuracy", "diagnostics", "a severity", "diverged at once", "crashed"),
]


@pytest.mark.parametrize(
    "ways",
    [
        ("diverged at once",) * 6,
        *(pytest.param(ways, marks=pytest.mark.slow) for ways in MORE_REPORTS),
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


@pytest.mark.slow
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.tuples(*[st.sampled_from(sorted(WAYS))] * 6))
def test_the_tables_are_made_whatever_pattern_is_missing(ways: tuple[str, ...]) -> None:
    frames = frames_with(ways)
    if frames is not None:
        check_tables(frames)


def test_a_mean_over_corruptions_needs_all_of_them() -> None:
    frames = frames_with(("a corruption", "a severity", *["complete"] * 4))
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
