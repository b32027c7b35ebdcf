"""Events of a running trial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.store.record import TrialRecord
    from actbench.study.study import Trial


@dataclass(frozen=True)
class Progress:
    """A trial is in training: ``step`` of ``steps`` in ``epoch`` of ``epochs`` is done.

    ``loss`` is the training loss of the last step; ``test_loss`` and ``test_accuracy`` (a fraction)
    are given after an epoch's last step only; ``scored`` says on which images, ``test`` or
    ``validation``.
    """

    trial: Trial
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    test_loss: float | None = None
    test_accuracy: float | None = None
    scored: str = "test"


@dataclass(frozen=True)
class Measuring:
    """A trained trial is measured: ``what`` is the ``number``-th of ``count`` measurements."""

    trial: Trial
    what: str
    number: int
    count: int


@dataclass(frozen=True)
class Updated:
    """The record of a trial that is trained now, or measured in one more way, but not finished.

    ``environment`` is that of the process (see ``environment.environment_of``).
    """

    record: TrialRecord
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A message to the user."""

    text: str


TrialEvent = Progress | Measuring | Updated | Note
