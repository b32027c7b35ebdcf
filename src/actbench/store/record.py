"""The stored results of a trial as plain values, and their JSON form. No torch."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from actbench.study.fields import (
    MAX_EPSILON,
    MAX_SEED,
    Rule,
    is_integer,
    is_number,
    is_text,
)
from actbench.study.levels import severities
from actbench.study.plain import from_plain, parse_json
from actbench.study.study import Study, Trial

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

RECORD_FORMAT = 1
STATUSES = ("ok", "diverged", "crashed")

# Fields that were added to format 1 later. They are written only if they differ from the default,
# so that the bytes of other records do not change.
_LATER = {"later": True}
# Mid-grey, the same picture for all classes, is within this L∞ distance of every image.
LARGE_EPSILON = 0.5
# There is no warning for a smaller share of the images: it changes accuracy by a point at most.
NEGLIGIBLE_SHARE = 0.01
MEAN_TOLERANCE = 1e-9  # of accuracies that are stored twice
# The types of a record's fields, which ``record_from_json`` checks.
Share = Annotated[float, Rule(is_number(0, 1), "a number from 0 to 1")]
NotNegative = Annotated[float, Rule(lambda v: not v < 0, "a number from 0")]  # or NaN
Epsilon = Annotated[float, Rule(is_number(0, MAX_EPSILON, above=True), "a number above 0")]
Count = Annotated[int, Rule(is_integer(1), "an integer from 1")]
Seed = Annotated[int, Rule(is_integer(0, MAX_SEED), "an integer from 0")]
Severity = Annotated[int, Rule(is_integer(1), "a severity")]
Name = Annotated[str, Rule(is_text, "a line of text")]
Layer = Annotated[str, Rule(lambda v: v == "" or is_text(v), "a module's name")]
Status = Annotated[str, Rule(lambda v: v in STATUSES, f"one of {', '.join(STATUSES)}")]
Kernels = Annotated[str, Rule(lambda v: v in ("native", "torch"), "native or torch")]


class OtherFormatError(ValueError):
    """A record has the format of another version of actbench."""


@dataclass(frozen=True)
class EpochRecord:
    """An epoch's mean training loss, test loss and accuracy after it, and mean gradient norms.

    ``grad_norms`` maps each layer's module name to the mean, over the epoch's steps, of the L2 norm
    of the loss gradient in that layer's weight.
    """

    epoch: Count
    train_loss: NotNegative
    test_loss: NotNegative
    test_accuracy: Share
    grad_norms: dict[Layer, NotNegative]


@dataclass(frozen=True)
class CorruptionScore:
    """Test accuracy (a fraction), mean loss and calibration error under one corruption."""

    corruption: Name
    severity: Severity
    accuracy: Share
    loss: NotNegative
    ece: NotNegative


@dataclass(frozen=True)
class AttackScore:
    """Accuracy, a fraction, under one attack at one ε, on the images that the study attacks."""

    attack: Name
    epsilon: Epsilon
    accuracy: Share


@dataclass(frozen=True)
class MaskingChecks:
    """Results of the checks for gradient masking on one trained network.

    Attributes:
        images: the number of attacked images.
        classes: the number of classes.
        zero_gradient_share: the share of images, in [0, 1], whose input gradient is zero.
        non_finite_gradient_share: the share whose input gradient is not finite in some pixel.
        white_box_excess: (ε, accuracy under all white-box attacks − under all black-box ones) for
            each ε at which the difference is more than chance.
        large_epsilon_accuracy: accuracy under PGD at ``LARGE_EPSILON``.
        misleading_gradient_share: the share of correctly classified images for which a small step
            along the gradient does not lower the label's margin; None in records whose attacks
            used the plain cross-entropy, which depends on the scale of the logits.
    """

    images: Count
    classes: Count
    zero_gradient_share: Share
    non_finite_gradient_share: Share
    white_box_excess: tuple[tuple[Epsilon, Share], ...]
    large_epsilon_accuracy: Share
    misleading_gradient_share: Share | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each sign that robust accuracy is overstated; empty if there is none.

        At ``LARGE_EPSILON`` an attack that works leaves no more than the images of one class,
        since a network can call mid-grey by one name only, and these fall too unless the network
        ignores its input. Near zero is therefore taken to be half the chance level.
        """
        found = []
        if self.misleading_gradient_share is None:
            found.append(
                "fgsm and pgd were run by an earlier version, in which accuracy under them depends "
                "on the scale of the logits; run this trial again in a new folder"
            )
        for share, what in (
            (self.zero_gradient_share, "an input gradient of zero"),
            (self.non_finite_gradient_share, "an input gradient that is not finite"),
            (
                self.misleading_gradient_share or 0,
                "an input gradient along which the label's margin does not fall",
            ),
        ):
            if share > NEGLIGIBLE_SHARE:
                found.append(
                    f"{share:.1%} of {self.images} images have {what}, "
                    "so gradient attacks have no direction to follow there"
                )
        for epsilon, excess in self.white_box_excess:
            found.append(
                f"at ε = {255 * epsilon:.3g}/255 white-box attacks leave {100 * excess:.1f} points "
                f"more accuracy than black-box attacks (n = {self.images}), "
                "so the gradients mislead them"
            )
        if self.large_epsilon_accuracy > 0.5 / self.classes:
            found.append(
                f"{self.large_epsilon_accuracy:.1%} of {self.images} images withstand PGD at "
                f"ε = {LARGE_EPSILON}, where each could be turned mid-grey, so the attack fails"
            )
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """The results of one trial. It has no times, so that the same trial gives the same bytes.

    Attributes:
        trial_id: the trial's name in the store (``study.trial_id``).
        activation: its activation's spec.
        seed: its seed.
        status: ``ok``, ``diverged`` or ``crashed``.
        reason: why it diverged or crashed, one line.
        trace: the traceback of a crash.
        activation_check: the activation's self-check.
        history: a record for each epoch.
        clean_accuracy: the share of test images classified correctly, in [0, 1].
        clean_loss: mean cross-entropy on the test images.
        clean_ece: expected calibration error on the test images.
        corruptions: a score for each corruption × severity.
        logit_margin: mean over test images of the true class's logit less the largest other one.
        input_gradient_norm: mean L2 norm of the loss gradient in the image, for pixels in [0, 1].
        inactive: the share of inactive units by layer.
        inactive_fraction: the share of inactive units in all layers.
        clean_correct: per test image whether it was classified correctly (``unpack_counts``).
        corrupted_correct: per test image under how many corruptions × severities it was.
        attacks: a score for each attack × ε.
        masking: the checks for gradient masking.
        kernels: ``torch``, or ``native`` if these computed some of it.
        environment: the id of an entry of ``environment.json``; empty for a crashed trial.
        notes: sentences for the reader, such as of a diagnostic that failed.
        output_warnings: why accuracy under attack may be overstated, judging by the outputs.
        largest_class_share: the share of test images in the largest class, in (0, 1].
    """

    trial_id: Name
    activation: Name
    seed: Seed
    status: Status
    reason: str = ""
    trace: str = ""
    activation_check: dict[str, float | bool | int] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    clean_accuracy: Share | None = None
    clean_loss: NotNegative | None = None
    clean_ece: NotNegative | None = None
    corruptions: tuple[CorruptionScore, ...] = ()
    logit_margin: float | None = None
    input_gradient_norm: NotNegative | None = None
    inactive: dict[Layer, Share] = field(default_factory=dict)
    inactive_fraction: Share | None = None
    clean_correct: str = ""
    corrupted_correct: str = ""
    attacks: tuple[AttackScore, ...] = field(default=(), metadata=_LATER)
    masking: MaskingChecks | None = field(default=None, metadata=_LATER)
    kernels: Kernels = field(default="torch", metadata=_LATER)
    environment: str = field(default="", metadata=_LATER)
    notes: tuple[str, ...] = field(default=(), metadata=_LATER)
    output_warnings: tuple[str, ...] = field(default=(), metadata=_LATER)
    largest_class_share: Share | None = field(default=None, metadata=_LATER)

    @property
    def trial(self) -> Trial:
        """The record's trial."""
        return Trial(self.activation, self.seed)


# the fields that only a trial with status ok has
_MEASURED = (
    *("clean_accuracy", "clean_loss", "clean_ece", "clean_correct"),
    *("corruptions", "corrupted_correct", "logit_margin", "input_gradient_norm"),
    *("inactive", "inactive_fraction", "attacks", "masking", "output_warnings"),
)
_KNOWN = {item.name for item in fields(TrialRecord)}


def record_to_json(record: TrialRecord) -> str:
    """Return the record as JSON text with a checksum; equal records give equal text."""
    content = _finite(asdict(record))
    for item in fields(record):
        if item.metadata.get("later") and getattr(record, item.name) == item.default:
            del content[item.name]
    if record.masking and record.masking.misleading_gradient_share is None:
        del content["masking"]["misleading_gradient_share"]
    head = {"format": RECORD_FORMAT, "checksum": _checksum(content)}
    return json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n"


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def record_from_json(text: str) -> TrialRecord:
    """Return the record of a text from ``record_to_json``.

    Raises:
        OtherFormatError: the record has another format.
        ValueError: the text is not a record, or is damaged.
    """
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError("not a record")
    found = content.pop("format", None)
    checksum = content.pop("checksum", None)
    is_complete = checksum == _checksum(content)
    if type(found) is not int:
        raise ValueError("not a record")
    if found != RECORD_FORMAT:
        if is_complete and set(content) <= _KNOWN:
            raise ValueError("its format number is not that of its content")
        raise OtherFormatError(f"format {found}; this actbench reads {RECORD_FORMAT}")
    if not is_complete:
        raise ValueError("its checksum is not that of its content")
    record = from_plain(TrialRecord, content)
    _check_complete(record)
    return record


def _check_complete(record: TrialRecord) -> None:
    """Check that the fields of a record agree.

    Raises:
        ValueError: they do not, or a field is empty that a trial with status ok has.
    """
    if [epoch.epoch for epoch in record.history] != list(range(1, len(record.history) + 1)):
        raise ValueError("the epochs of its history are not 1, 2, 3, …")
    if record.status != "ok":
        for name in _MEASURED:
            if getattr(record, name) not in ((), None, "", {}):
                raise ValueError(f"{name} has a value, and its status is {record.status}")
        return
    for name in ("history", "clean_accuracy", "clean_correct"):
        if getattr(record, name) in ((), None, ""):
            raise ValueError(f"{name} is empty, and its status is ok")
    clean = unpack_counts(record.clean_correct)
    if clean.size == 0 or clean.max() > 1:
        raise ValueError("clean_correct is not 0 or 1 for each test image")
    _check_mean(clean, [record.clean_accuracy or 0], "clean_correct", "clean_accuracy")
    if record.corruptions:
        corrupted = unpack_counts(record.corrupted_correct)
        if corrupted.size != clean.size or corrupted.max() > len(record.corruptions):
            raise ValueError(
                f"corrupted_correct is not a count up to {len(record.corruptions)} for each of "
                f"{clean.size} test images"
            )
        accuracies = [score.accuracy for score in record.corruptions]
        _check_mean(corrupted, accuracies, "corrupted_correct", "the accuracies under corruptions")


def _check_mean(
    counts: npt.NDArray[np.uint8], accuracies: Sequence[float], packed: str, what: str
) -> None:
    """Check that the mean count of a test image is the sum of the accuracies.

    Raises:
        ValueError: it is not; ``packed`` and ``what`` are the names of the two.
    """
    if abs(counts.mean() - math.fsum(accuracies)) > MEAN_TOLERANCE:
        raise ValueError(
            f"{packed} has a mean of {counts.mean():.6g} and {what} a sum of "
            f"{math.fsum(accuracies):.6g}, which must be equal"
        )


def check_belongs(record: TrialRecord, study: Study, trial: Trial) -> None:
    """Check that a record is of this trial and has the measurements of its study.

    Raises:
        ValueError: it is not, or lacks some.
    """
    if record.trial != trial:
        raise ValueError("it is another trial's record")
    epochs = len(record.history)
    if epochs > study.epochs or (record.status == "ok" and epochs != study.epochs):
        raise ValueError(f"its history has {epochs} epochs, and the study has {study.epochs}")
    if record.status != "ok":
        return
    for what, found, expected in (
        (
            "corruptions and severities",
            [(score.corruption, score.severity) for score in record.corruptions],
            [(name, severity) for name in study.corruptions for severity in severities(name)],
        ),
        (
            "attacks and epsilons",
            [(score.attack, score.epsilon) for score in record.attacks],
            [(name, epsilon) for name in study.attacks for epsilon in study.epsilons],
        ),
    ):
        if found != expected and sorted(found) != sorted(expected):
            raise ValueError(f"its {what} are not those of the study")
    if study.attacks and record.masking is None:
        raise ValueError("it has attacks and no masking checks")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def pack_counts(counts: npt.NDArray[np.uint8]) -> str:
    """Return counts from 0 to 255, one per test image, as zlib-compressed base64 text."""
    packed = zlib.compress(counts.astype(np.uint8).tobytes(), 9)
    return base64.b64encode(packed).decode("ascii")


def unpack_counts(text: str) -> npt.NDArray[np.uint8]:
    """Return the counts, uint8 of shape (test images,), that ``pack_counts`` wrote.

    Raises:
        ValueError: the text is not such counts.
    """
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    except zlib.error as error:
        raise ValueError(f"not packed counts: {error}") from None
