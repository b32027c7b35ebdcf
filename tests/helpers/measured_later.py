"""A small study that is trained first and measured later, and its folder's files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from actbench.analysis.stored_frames import read_frames
from actbench.execution.local import InProcess
from actbench.execution.plan import prepare_study
from actbench.execution.trials import PendingTrials, run_trials
from actbench.store.store import Store
from actbench.study.study import Study, trial_id

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.analysis.frames import Frames

SMALL = "mlp:depth=1,width=16"
BARE = Study(
    model=SMALL,
    activations=("relu", "prelu"),
    seeds=(0,),
    train_images=64,
    epochs=1,
    corruptions=("none",),
)
MEASURED = replace(
    BARE,
    corruptions=("contrast", "gaussian_noise"),
    attacks=("fgsm", "square:queries=3"),
    attack_images=20,
    epsilons=(0.1, 8 / 255),
)


def run_in(folder: Path, study: Study, **options: Any) -> tuple[Frames, str]:
    """Run what a folder lacks, in this process and without a report; return frames and messages."""
    plan, store, texts = prepare_study(study), Store(folder), []
    with store.locked():
        stored = store.open(plan.study)
        stored.begin()
        pending = stored.pending(retry_failed=options.pop("retry_failed", False))
        listen = lambda event: texts.append(getattr(event, "text", ""))  # noqa: E731
        run_trials(PendingTrials(plan, stored, pending), InProcess(), listen, **options)
        stored.clean_up()
    return read_frames(store, plan.study), "\n".join(filter(None, texts))


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every record and of the weights, by name."""
    paths = [*folder.glob("trials/*.json"), *folder.glob("weights/*.safetensors")]
    return {path.name: path.read_bytes() for path in paths}


def weights_of(folder: Path) -> Path:
    """Return the file of the weights of the study's first trial."""
    study = resolved(folder)
    return folder / "weights" / f"{trial_id(study, study.trials()[0])}.safetensors"


def resolved(folder: Path) -> Study:
    """Return the study that a folder holds, with the checksum of its data."""
    return Store(folder).study()
