"""What a trial says while it runs and what it leaves when it is done, as plain values. No torch."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.study import Trial

if TYPE_CHECKING:
    import numpy.typing as npt


RECORD_FORMAT = 1
STATUSES = ("ok", "diverged", "crashed")


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


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """Everything that one finished trial leaves in the store; no times, so that it repeats.

    ``clean_correct`` and ``corrupted_correct`` hold per test image whether it was classified
    correctly, and under how many of the corruptions × severities (see ``unpack_counts``).
    ``logit_margin`` is the mean over test images of the true class's logit less the largest other;
    ``input_gradient_norm`` the mean L2 norm of the loss gradient in the image, in [0, 1] space.
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

    @property
    def trial(self) -> Trial:
        """The trial that the record is of."""
        return Trial(self.activation, self.seed)


def record_to_json(record: TrialRecord) -> str:
    """Return the record as JSON text, the same for the same record, with its own checksum."""
    content = _finite(asdict(record))
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
    if isinstance(found, int) and found != RECORD_FORMAT:
        raise OtherFormatError(f"format {found}; this actbench reads {RECORD_FORMAT}")
    if found != RECORD_FORMAT:
        raise ValueError("not a record")
    checksum = content.pop("checksum", None)
    if checksum != _checksum(content):
        raise ValueError("its checksum is not that of its content")
    if set(content) != {item.name for item in fields(TrialRecord)}:
        raise ValueError("not the fields of a record")
    try:
        content["history"] = tuple(EpochRecord(**epoch) for epoch in content["history"])
        content["corruptions"] = tuple(CorruptionScore(**s) for s in content["corruptions"])
    except TypeError as error:
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
