"""The events of many trials, which executors and sessions report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actbench.training.events import Measuring, Note, Progress, Updated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.store.record import TrialRecord
    from actbench.study.study import Study, Trial


@dataclass(frozen=True)
class Finished:
    """A trial has ended: it is trained and measured, or that failed.

    Attributes:
        record: the trial's record.
        seconds: the time that it took.
        status: ``ok``, ``diverged`` or ``crashed``, in training or in measuring.
        reason: why it diverged or crashed, one line.
        environment: that of the process (see ``environment.environment_of``); empty if the process
            ended during the trial.
    """

    record: TrialRecord
    seconds: float
    status: str
    reason: str
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Retried:
    """A trial that was interrupted and will be retried from its last checkpoint."""

    trial: Trial
    reason: str


@dataclass(frozen=True)
class Planned:
    """The number of trials that are about to run; ``to_measure`` of them are trained already.

    ``study`` is the study that they belong to; None if they choose learning rates for it.
    """

    trials: int
    to_measure: int = 0
    study: Study | None = None


@dataclass(frozen=True)
class Stage:
    """What a run does now that is not a trial, such as ``reading images``.

    ``done`` of ``count`` is done; both are 0 if it is not counted.
    """

    what: str
    done: int = 0
    count: int = 0


Event = Planned | Stage | Note | Progress | Measuring | Updated | Finished | Retried
