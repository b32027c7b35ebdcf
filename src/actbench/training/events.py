"""Events of a running trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from actbench.study.study import Trial


@dataclass(frozen=True)
class Progress:
    """The progress of a running trial: ``step`` of ``steps`` in ``epoch`` of ``epochs`` is done.

    ``loss`` is the training loss of the last step; ``test_loss`` and ``test_accuracy`` (a fraction)
    are given after an epoch's last step only.
    """

    trial: Trial
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    test_loss: float | None = None
    test_accuracy: float | None = None
