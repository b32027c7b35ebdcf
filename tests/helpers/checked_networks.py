"""A network of one's own as the check before training and a short trial find it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actbench.analysis.trial_results import result_of
from actbench.errors import UsageError
from actbench.execution.network_check import check_networks
from actbench.models.activations import resolve_activation
from actbench.study.study import Study, Trial
from actbench.training.trial import run_to_end, run_trial

if TYPE_CHECKING:
    from actbench.data.images import ImageData
    from actbench.store.result import TrialResult

SOURCE = Path(__file__).with_name("odd_networks.py").read_text(encoding="utf-8")


def checked(data: ImageData, model: str = "cnn", activation: str = "tanh", **recipe: Any) -> str:
    """Return what the check says of a network that it accepts."""
    study = Study(model=model, activations=("relu", activation), **recipe)
    factories = [resolve_activation(spec) for spec in study.activations]
    return "\n".join(check_networks(study, factories, data))


def refusal(data: ImageData, model: str = "cnn", activation: str = "tanh", **recipe: int) -> str:
    """Return why the check refuses a network, one line."""
    with pytest.raises(UsageError) as error:
        checked(data, model, activation, **recipe)
    message = str(error.value)
    assert "\n" not in message
    return message


def trial_of(
    data: ImageData, model: str = "cnn", activation: str = "tanh", **changes: object
) -> TrialResult:
    """Return the result of a trial of eight images and two epochs."""
    study = Study(model=model, activations=(activation,), baseline=activation, **changes)
    study = replace(study, epochs=2, corruptions=(), kernels="torch")
    few = data.train_subset(8)
    result = result_of(
        run_to_end(run_trial(study, Trial(activation, 0), few, lambda _: None)), study
    )
    assert result is not None
    return result
