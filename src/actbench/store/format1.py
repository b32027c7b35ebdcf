"""Results folders of format 1, in which a record held one set of measurements: reading only."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from actbench.store.reading import Reading
from actbench.store.record import check_belongs, check_epochs, checked_content
from actbench.store.result import TrialResult
from actbench.store.values import check_mean, unpack_counts
from actbench.study.levels import SEVERITIES
from actbench.study.plain import from_plain
from actbench.study.study import Study, Trial, as_plain, names_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.store.store import Store

EARLIER_FORMAT = 1
# the fields of a TrialResult that records of this format do not have
_LATER = {"measured_in", "missing", "class_images", "class_correct"}
_KNOWN = {item.name for item in fields(TrialResult)} - _LATER
# the fields that only a trial with status ok has
_MEASURED = (
    "clean_accuracy",
    "clean_loss",
    "clean_ece",
    "clean_correct",
    "corruptions",
    "corrupted_correct",
    "logit_margin",
    "input_gradient_norm",
    "inactive",
    "inactive_fraction",
    "attacks",
    "masking",
    "output_warnings",
)
_IN_IDENTITY = ("corruptions", "attacks", "attack_images", "epsilons")


def open_format1(store: Store, study: Study) -> Reading[TrialResult]:
    """Return the records of the study in a folder of format 1."""
    published = tomllib.loads(store.study_text()).get("cifar10c_checksum", "")
    names = names_of_format1(study, published)
    trials = {names(trial): trial for trial in study.trials()}
    return Reading(store, study, trials, result_from_json, check_measured, _test_images)


def names_of_format1(study: Study, published: str = "") -> Callable[[Trial], str]:
    """Return the function that gives each trial of a study the name that it had in format 1.

    Args:
        study: the study.
        published: the checksum of the published corrupted images; empty without them.
    """
    measured = {name: as_plain(study)[name] for name in _IN_IDENTITY}
    if not study.attacks:
        defaults = as_plain(Study())
        measured |= {name: defaults[name] for name in ("attack_images", "epsilons")}
    if published:
        measured["cifar10c_checksum"] = published
    return names_with(study, EARLIER_FORMAT, {**study.identity(), **measured})


def result_from_json(text: str) -> TrialResult:
    """Return the results in the text of a record of format 1.

    Raises:
        OtherFormatError: the record has another format.
        ValueError: the text is not a record, or is damaged.
    """
    content = checked_content(text, EARLIER_FORMAT, _KNOWN)
    if not set(content) <= _KNOWN:
        unknown = min(set(content) - _KNOWN)[:40]
        raise ValueError(f"does not have the fields of a record: {unknown!r}")
    packed = content.pop("corrupted_correct", "")
    result = from_plain(TrialResult, {**content, "corrupted_correct": [packed] if packed else []})
    _check_complete(result)
    return result


def _test_images(result: TrialResult) -> int:
    return unpack_counts(result.clean_correct).size if result.status == "ok" else 0


def _check_complete(result: TrialResult) -> None:
    """Check that the fields of a record agree.

    Raises:
        ValueError: they do not, or a field is empty that a trial with status ok has.
    """
    check_epochs(result.history)
    if result.status != "ok":
        for name in _MEASURED:
            if getattr(result, name) not in ((), None, "", {}):
                raise ValueError(f"{name} has a value, and its status is {result.status}")
        return
    for name in ("history", "clean_accuracy", "clean_correct"):
        if getattr(result, name) in ((), None, ""):
            raise ValueError(f"{name} is empty, and its status is ok")
    clean = unpack_counts(result.clean_correct)
    if clean.size == 0 or clean.max() > 1:
        raise ValueError("clean_correct is not 0 or 1 for each test image")
    accuracy = [result.clean_accuracy or 0]
    check_mean(float(clean.mean()), accuracy, "clean_correct", "clean_accuracy")
    if result.corruptions:
        if not result.corrupted_correct:
            raise ValueError("corrupted_correct is empty, and it has corruptions")
        corrupted = unpack_counts(result.corrupted_correct[0])
        if corrupted.size != clean.size or corrupted.max() > len(result.corruptions):
            raise ValueError(
                f"corrupted_correct is not a count up to {len(result.corruptions)} for each of "
                f"{clean.size} test images"
            )
        accuracies = [score.accuracy for score in result.corruptions]
        what = ("corrupted_correct", "the accuracies under corruptions")
        check_mean(float(corrupted.mean()), accuracies, *what)


def check_measured(result: TrialResult, study: Study, trial: Trial) -> None:
    """Check that a record is of this trial and has the measurements of its study.

    Raises:
        ValueError: it is not, or lacks some.
    """
    check_belongs(result, study, trial)
    if result.status != "ok":
        return
    checks: tuple[tuple[str, list[Any], list[Any]], ...] = (
        (
            "corruptions and severities",
            [(score.corruption, score.severity) for score in result.corruptions],
            [(name, severity) for name in study.corruptions for severity in SEVERITIES],
        ),
        (
            "attacks and epsilons",
            [(score.attack, score.epsilon) for score in result.attacks],
            [(name, epsilon) for name in study.attacks for epsilon in study.epsilons],
        ),
    )
    for what, found, expected in checks:
        if found != expected and sorted(found) != sorted(expected):
            raise ValueError(f"its {what} are not those of the study")
    if study.attacks and result.masking is None:
        raise ValueError("it has attacks and no masking checks")
