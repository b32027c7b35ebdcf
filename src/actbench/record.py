"""What a trial says while it runs and what it leaves when it is done, as plain values. No torch."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.study import Trial

if TYPE_CHECKING:
    import numpy.typing as npt


RECORD_FORMAT = 1
STATUSES = ("ok", "diverged", "crashed")
# Fields that format 1 did not begin with: written only where they say something, so that a record
# without them has the bytes that it always had.
_LATER = {"later": True}

# Within this radius in L∞ of every image lies mid-grey, the same picture for all classes.
LARGE_EPSILON = 0.5
# A share of the images that moves an accuracy by a point at most is not warned of.
NEGLIGIBLE_SHARE = 0.01


class OtherFormatError(ValueError):
    """A record was written by an actbench that stores its records in another way."""


@dataclass(frozen=True)
class Progress:
    """Where a running trial stands: after ``step`` of ``steps`` in ``epoch`` of ``epochs``.

    ``loss`` is the training loss of the last step; ``test_loss`` and ``test_accuracy`` (a fraction)
    are there after an epoch's last step alone.
    """

    trial: Trial
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    test_loss: float | None = None
    test_accuracy: float | None = None


@dataclass(frozen=True)
class EpochRecord:
    """An epoch's mean training loss, the test scores after it, and the mean gradient norms.

    ``grad_norms`` maps each layer's module name to the mean, over the epoch's steps, of the L2 norm
    of the loss gradient in that layer's weight.
    """

    epoch: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    grad_norms: dict[str, float]


@dataclass(frozen=True)
class CorruptionScore:
    """Test accuracy (a fraction), mean loss and calibration error under one corruption."""

    corruption: str
    severity: int
    accuracy: float
    loss: float
    ece: float


@dataclass(frozen=True)
class AttackScore:
    """Accuracy, a fraction, under one attack at one ε, on the images that the study attacks."""

    attack: str
    epsilon: float
    accuracy: float


@dataclass(frozen=True)
class MaskingChecks:
    """What the guard found on one trained network.

    ``images`` and ``classes`` are counts. The shares in [0, 1] are of images whose cross-entropy
    gradient is zero in every pixel, or not finite in some. ``white_box_excess`` has, for each ε
    where it is more than chance, (ε, accuracy under all white-box attacks minus accuracy under
    all black-box ones). ``large_epsilon_accuracy`` is that under PGD at ``LARGE_EPSILON``.
    """

    images: int
    classes: int
    zero_gradient_share: float
    non_finite_gradient_share: float
    white_box_excess: tuple[tuple[float, float], ...]
    large_epsilon_accuracy: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each sign that robust accuracy is overstated; empty if there is none.

        At ``LARGE_EPSILON`` an attack that works leaves no more than the images of one class,
        since a network can call mid-grey by one name only, and these fall too unless the network
        ignores its input. Near zero is therefore taken to be half the chance level.
        """
        found = []
        for share, what in (
            (self.zero_gradient_share, "an input gradient of zero"),
            (self.non_finite_gradient_share, "an input gradient that is not finite"),
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
    """Everything that one finished trial leaves in the store; no times, so that it repeats.

    ``clean_correct`` and ``corrupted_correct`` hold per test image whether it was classified
    correctly, and under how many of the corruptions × severities (see ``unpack_counts``).
    ``logit_margin`` is the mean over test images of the true class's logit less the largest other;
    ``input_gradient_norm`` the mean L2 norm of the loss gradient in the image, in [0, 1] space.
    ``attacks`` has a score for each attack × ε, ``masking`` what the guard beside them found.
    ``kernels`` are those that computed it: ``torch``, or ``native`` as well. ``environment`` is the
    id of the entry of ``environment.json`` that describes where; a crashed trial has none.
    ``reason`` says in one line why a trial diverged or crashed, ``trace`` in full.
    """

    trial_id: str
    activation: str
    seed: int
    status: str
    reason: str = ""
    trace: str = ""
    activation_check: dict[str, float | bool | int] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    clean_accuracy: float | None = None
    clean_loss: float | None = None
    clean_ece: float | None = None
    corruptions: tuple[CorruptionScore, ...] = ()
    logit_margin: float | None = None
    input_gradient_norm: float | None = None
    inactive: dict[str, float] = field(default_factory=dict)
    inactive_fraction: float | None = None
    clean_correct: str = ""
    corrupted_correct: str = ""
    attacks: tuple[AttackScore, ...] = field(default=(), metadata=_LATER)
    masking: MaskingChecks | None = field(default=None, metadata=_LATER)
    kernels: str = field(default="torch", metadata=_LATER)
    environment: str = field(default="", metadata=_LATER)

    @property
    def trial(self) -> Trial:
        """The trial that the record is of."""
        return Trial(self.activation, self.seed)


_KNOWN = {item.name for item in fields(TrialRecord)}
_REQUIRED = {
    item.name
    for item in fields(TrialRecord)
    if item.default is MISSING and item.default_factory is MISSING
}


def record_to_json(record: TrialRecord) -> str:
    """Return the record as JSON text, the same for the same record, with its own checksum."""
    content = _finite(asdict(record))
    for item in fields(record):
        if item.metadata.get("later") and getattr(record, item.name) == item.default:
            del content[item.name]
    head = {"format": RECORD_FORMAT, "checksum": _checksum(content)}
    return json.dumps({**head, **content}, indent=1, allow_nan=False) + "\n"


def _checksum(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def record_from_json(text: str) -> TrialRecord:
    """Return the record that ``record_to_json`` wrote.

    Raises:
        OtherFormatError: it is a record of another format.
        ValueError: the text is no such record.
    """
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("not a record") from None
    if not isinstance(content, dict):
        raise ValueError("not a record")
    found = content.pop("format", None)
    checksum = content.pop("checksum", None)
    whole = checksum == _checksum(content)
    if type(found) is not int:
        raise ValueError("not a record")
    if found != RECORD_FORMAT:
        if whole and set(content) <= _KNOWN:
            raise ValueError("its format number is not that of its content")
        raise OtherFormatError(f"format {found}; this actbench reads {RECORD_FORMAT}")
    if not whole:
        raise ValueError("its checksum is not that of its content")
    if not _REQUIRED <= set(content) <= _KNOWN:
        raise ValueError("not the fields of a record")
    try:
        content["history"] = tuple(EpochRecord(**epoch) for epoch in content["history"])
        content["corruptions"] = tuple(CorruptionScore(**s) for s in content["corruptions"])
        if "attacks" in content:
            content["attacks"] = tuple(AttackScore(**score) for score in content["attacks"])
        if "masking" in content:
            found = content["masking"]
            excess = tuple((epsilon, share) for epsilon, share in found["white_box_excess"])
            content["masking"] = MaskingChecks(**{**found, "white_box_excess": excess})
    except (TypeError, KeyError) as error:
        raise ValueError(str(error)) from None
    if content["status"] not in STATUSES:
        raise ValueError(f"status {content['status']!r}")
    return TrialRecord(**content)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def pack_counts(counts: npt.NDArray[np.uint8]) -> str:
    """Return small counts, one per test image, as compact text."""
    packed = zlib.compress(counts.astype(np.uint8).tobytes(), 9)
    return base64.b64encode(packed).decode("ascii")


def unpack_counts(text: str) -> npt.NDArray[np.uint8]:
    """Return the counts, uint8 of shape (test images,), that ``pack_counts`` wrote."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
