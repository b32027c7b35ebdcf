"""A study of four trials in a results folder, the record of each, and the folder's files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.study.study import Study, trial_id
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.store.record import TrialRecord

STUDY = Study(activations=("relu", "tanh"), seeds=(0, 1))


def record_of(position: int, study: Study = STUDY) -> TrialRecord:
    """Return the record of the trial at a position of the study."""
    return stored_form(synthetic_records(study)[trial_id(study, study.trials()[position])])


def files_in(folder: Path) -> set[str]:
    """Return the paths of all files below a folder, relative to it."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
