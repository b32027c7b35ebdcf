"""The trained network of a stored trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError, UsageError, did_you_mean
from actbench.models.activations import resolve_activation
from actbench.models.study_code import import_code
from actbench.store.weights import UnusableWeightsError, Weights
from actbench.study.study import Trial, trial_id
from actbench.training.trial import trial_network

if TYPE_CHECKING:
    from torch import nn

    from actbench.store.store import Store
    from actbench.study.study import Study


def trained_network(store: Store, study: Study, activation: str, seed: int) -> nn.Module:
    """Return the trained network of a trial, on the CPU and in evaluation mode.

    Raises:
        UsageError: the study has no such trial, or it diverged or crashed.
        ResultsFolderError: it is not trained yet, its weights were not kept or are damaged, or the
            source of the user's code has changed.
    """
    spec = resolve_activation(activation).spec
    if spec not in study.activations:
        raise UsageError(f"the study has no {spec!r}{did_you_mean(spec, study.activations)}")
    if seed not in study.seeds:
        listed = ", ".join(map(str, study.seeds))
        raise UsageError(f"the study has no seed {seed!r}; its seeds are {listed}")
    store.check_format()
    trial = Trial(spec, seed)
    name = trial_id(study, trial)
    record = store.open(study).records().get(name)
    if record is None:
        raise ResultsFolderError(f"{trial} is not trained yet")
    if record.status != "ok":
        raise UsageError(f"{trial} {record.status}: {record.reason}; it has no trained network")
    try:
        state = Weights(store.weights, name).load(record.weights)
    except UnusableWeightsError as error:
        raise ResultsFolderError(
            f"{trial}: {error}; a run that measures more trains it again"
        ) from None
    import_code(study)
    network, _ = trial_network(study, trial, len(record.class_images), record.image_size)
    network.load_state_dict(state)
    return network.eval()
