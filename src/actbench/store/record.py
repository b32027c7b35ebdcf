"""The stored record of a trial as plain values, and its JSON form. No torch.

A record has a training part, and a result for each measurement on the trained network. Results are
added to it later, in an order of their own, so that the bytes do not depend on when they came.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from actbench.store.measured import (
    AnyResult,
    AttackResult,
    CleanResult,
    CorruptionResult,
    GradientResult,
    failed,
)
from actbench.store.values import (
    Checksum,
    Count,
    CountFrom0,
    Kernels,
    Layer,
    Name,
    NotNegative,
    Seed,
    Share,
    Status,
    finite,
)
from actbench.study.measurements import Measurement, measurements_of
from actbench.study.plain import from_plain, parse_json
from actbench.study.study import Study, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.store.result import TrialResult

RECORD_FORMAT = 2


class OtherFormatError(ValueError):
    """A record has the format of another version of actbench."""


@dataclass(frozen=True)
class EpochRecord:
    """An epoch's mean training loss, loss and accuracy after it, and mean gradient norms.

    Loss and accuracy are of the test images, or of the held-out training images if the study has
    ``validation``; the others are None. ``grad_norms`` maps each layer's module name to the mean,
    over the epoch's steps, of the L2 norm of the loss gradient in that layer's weight.
    """

    epoch: Count
    train_loss: NotNegative
    test_loss: NotNegative | None
    test_accuracy: Share | None
    grad_norms: dict[Layer, NotNegative]
    validation_loss: NotNegative | None = None
    validation_accuracy: Share | None = None


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What one trial leaves. It has no times, so that the same trial gives the same bytes.

    Attributes:
        trial_id: the trial's name in the store (``study.trial_id``).
        activation: its activation's spec.
        seed: its seed.
        status: the result of the training: ``ok``, ``diverged`` or ``crashed``.
        reason: why it diverged or crashed, one line.
        trace: the traceback of a crash.
        activation_check: the activation's self-check.
        history: a record for each epoch.
        kernels: ``torch``, or ``native`` if these computed some of it.
        environment: the id of an entry of ``environment.json``; empty for a crashed trial.
        notes: sentences on the training for the reader.
        weights: the checksum of the file of the trained weights; empty if they cannot be stored.
        image_size: the pixels of an image's side; 0 if it is not trained.
        class_images: the number of test images by class.
        clean: the results on the test images.
        corruptions: the results under each corruption.
        gradients: the checks for masked gradients, by number of images.
        attacks: the results under each attack at each ε.
    """

    trial_id: Name
    activation: Name
    seed: Seed
    status: Status
    reason: str = ""
    trace: str = ""
    activation_check: dict[str, float | bool | int] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    kernels: Kernels = "torch"
    environment: str = ""
    notes: tuple[str, ...] = ()
    weights: Checksum = ""
    image_size: CountFrom0 = 0
    class_images: tuple[CountFrom0, ...] = ()
    clean: CleanResult | None = None
    corruptions: tuple[CorruptionResult, ...] = ()
    gradients: tuple[GradientResult, ...] = ()
    attacks: tuple[AttackResult, ...] = ()

    @property
    def trial(self) -> Trial:
        """The record's trial."""
        return Trial(self.activation, self.seed)

    @property
    def results(self) -> dict[Measurement, AnyResult]:
        """The results of all stored measurements, in the order of the record."""
        clean = () if self.clean is None else (self.clean,)
        found = (*clean, *self.corruptions, *self.gradients, *self.attacks)
        return {result.measurement: result for result in found}

    def planned(self, study: Study) -> list[Measurement]:
        """Return what the study measures on this trial's network; nothing if it is not trained."""
        return measurements_of(study, sum(self.class_images)) if self.status == "ok" else []

    def missing(self, study: Study) -> list[Measurement]:
        """Return what the study measures and the record has not, in the order of measuring."""
        stored = self.results
        return [measurement for measurement in self.planned(study) if measurement not in stored]

    def failures(self, study: Study) -> list[AnyResult]:
        """Return the results of the study's measurements that failed."""
        stored = self.results
        planned = (stored[m] for m in self.planned(study) if m in stored)
        return [result for result in planned if result.failure]

    def with_results(self, results: Iterable[AnyResult]) -> TrialRecord:
        """Return the record with these results in place of others of the same measurements."""
        return self._of({**self.results, **{result.measurement: result for result in results}})

    def without(self, measurements: Iterable[Measurement]) -> TrialRecord:
        """Return the record without the results of these measurements."""
        left_out = set(measurements)
        return self._of({m: result for m, result in self.results.items() if m not in left_out})

    def given_up(self, study: Study, reason: str) -> TrialRecord:
        """Return the record with a failure for each missing measurement of the study."""
        return self.with_results(failed(m, reason, "", "") for m in self.missing(study))

    def _of(self, results: dict[Measurement, AnyResult]) -> TrialRecord:
        ordered = [results[m] for m in sorted(results, key=_order)]
        clean = next((r for r in ordered if isinstance(r, CleanResult)), None)
        return replace(
            self,
            clean=clean,
            corruptions=tuple(r for r in ordered if isinstance(r, CorruptionResult)),
            gradients=tuple(r for r in ordered if isinstance(r, GradientResult)),
            attacks=tuple(r for r in ordered if isinstance(r, AttackResult)),
        )


def _order(measurement: Measurement) -> tuple[str, str, int, float]:
    return (measurement.spec, measurement.source, measurement.images, measurement.epsilon)


_KNOWN = {item.name for item in fields(TrialRecord)}


def record_to_json(record: TrialRecord) -> str:
    """Return the record as JSON text with a checksum; equal records give equal text."""
    content = finite(asdict(record))
    head = {"format": RECORD_FORMAT, "checksum": content_checksum(content)}
    return json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n"


def content_checksum(content: dict[str, Any]) -> str:
    """Return the checksum that a record with this content states."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def checked_content(text: str, number: int, known: set[str]) -> dict[str, Any]:
    """Return the content of a record's JSON text after checking its format and checksum.

    Args:
        text: the text.
        number: the format.
        known: the names of the fields in this format.

    Raises:
        OtherFormatError: the record has another format.
        ValueError: the text is not a record, or is damaged.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("not a record")
    found = content.pop("format", None)
    checksum = content.pop("checksum", None)
    is_complete = checksum == content_checksum(content)
    if type(found) is not int:
        raise ValueError("not a record")
    if found != number:
        if is_complete and set(content) <= known:
            raise ValueError("its format number is not that of its content")
        raise OtherFormatError(f"format {found}; this actbench reads {number}")
    if not is_complete:
        raise ValueError("its checksum is not that of its content")
    return content


def record_from_json(text: str) -> TrialRecord:
    """Return the record of a text from ``record_to_json``.

    Raises:
        OtherFormatError: the record has another format.
        ValueError: the text is not a record, or is damaged.
    """
    record = from_plain(TrialRecord, checked_content(text, RECORD_FORMAT, _KNOWN))
    _check_complete(record)
    return record


def _check_complete(record: TrialRecord) -> None:
    """Check that the fields of a record agree.

    Raises:
        ValueError: they do not, or a field is empty that a trained trial has.
    """
    check_epochs(record.history)
    results = record.results
    if record.status != "ok":
        if results:
            raise ValueError(f"it has measurements, and its status is {record.status}")
        return
    if not record.history:
        raise ValueError("history is empty, and its status is ok")
    if sum(record.class_images) == 0 or record.image_size == 0:
        raise ValueError("class_images or image_size is empty, and its status is ok")
    for found in (record.corruptions, record.gradients, record.attacks):
        order = [_order(result.measurement) for result in found]
        if any(later <= before for before, later in itertools.pairwise(order)):
            raise ValueError("its measurements are not in their order, or one is there twice")
    for measurement, result in results.items():
        try:
            result.check(record.class_images)
        except ValueError as error:
            raise ValueError(f"{measurement}: {error}") from None


def check_epochs(history: Iterable[EpochRecord]) -> None:
    """Check that the epochs of a history are 1, 2, 3, ….

    Raises:
        ValueError: they are not.
    """
    if any(epoch.epoch != number for number, epoch in enumerate(history, start=1)):
        raise ValueError("the epochs of its history are not 1, 2, 3, …")


def check_belongs(record: TrialRecord | TrialResult, study: Study, trial: Trial) -> None:
    """Check that a record is of this trial of the study.

    Raises:
        ValueError: it is not.
    """
    if record.trial != trial:
        raise ValueError("it is another trial's record")
    epochs = len(record.history)
    if epochs > study.epochs or (record.status == "ok" and epochs != study.epochs):
        raise ValueError(f"its history has {epochs} epochs, and the study has {study.epochs}")
