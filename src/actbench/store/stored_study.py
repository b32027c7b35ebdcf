"""A study in its results folder: which trials are complete, and what the others still need."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError, reason_of
from actbench.files.atomic import PARTIAL, rename_corrupt
from actbench.store.checkpoint import Checkpoint
from actbench.store.reading import Reading
from actbench.store.record import TrialRecord, check_belongs, record_from_json, record_to_json
from actbench.store.record_files import TRIALS_FOLDER
from actbench.store.weights import Weights
from actbench.study.study import Trial, trial_names

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.store.store import Store
    from actbench.study.study import Study


@dataclass(frozen=True)
class Work:
    """A trial that is to be run.

    Attributes:
        trial: the trial.
        record: what is stored of it; None if it is to be trained. What the record lacks of the
            study's measurements is to be measured.
    """

    trial: Trial
    record: TrialRecord | None = None


class StoredStudy(Reading[TrialRecord]):
    """The records of one study; made by ``Store.open``.

    Attributes:
        store: the results folder.
        study: the study, whose trials are the only ones that are read.
    """

    def __init__(self, store: Store, study: Study) -> None:
        name_of = trial_names(study)
        trials = {name_of(trial): trial for trial in study.trials()}
        super().__init__(store, study, trials, record_from_json, check_belongs, _test_images)

    def begin(self) -> dict[Path, str]:
        """Make the folder hold the study, which may differ in activations, seeds and measurements.

        Returns:
            The new names of files that were damaged: see ``archive_damaged``.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), a
                record of another format, or cannot be written.
        """
        self.store.write_study(self.study)
        return self.archive_damaged()

    def pending(self, *, retry_failed: bool = False) -> list[Work]:
        """Return the trials that are not trained or lack a measurement, in the study's order.

        With ``retry_failed``, also those that diverged or crashed, and measurements that failed.

        Raises:
            ResultsFolderError: see ``records``.
        """
        records = self.records()
        found = []
        for name, trial in self._trials.items():
            record = records.get(name)
            if record is not None and retry_failed:
                if record.status != "ok":
                    record = None
                else:
                    failures = record.failures(self.study)
                    record = record.without(result.measurement for result in failures)
            if record is None or record.missing(self.study):
                found.append(Work(trial, record))
        return found

    def write(self, record: TrialRecord) -> None:
        """Store a trial's record in place of an earlier one, atomically.

        Its checkpoint is removed, unless the trial crashed or was ended and may go on from there.

        Raises:
            ResultsFolderError: see ``Store.write_bytes``.
        """
        self.store.write_text(f"{TRIALS_FOLDER}/{record.trial_id}.json", record_to_json(record))
        if record.status != "crashed":
            self.store.remove(Checkpoint(self.store.checkpoints, record.trial_id).path)

    def archive_damaged(self) -> dict[Path, str]:
        """Rename every damaged file to ``*.corrupt``; return the new names, each with the fault.

        Archived records become files of their own first, so that no complete one is renamed.

        Raises:
            ResultsFolderError: a record is of another format, or a file cannot be read, written or
                renamed.
        """
        try:
            self.store.record_files.unpack()
        except OSError as error:
            archive = str(self.store.record_files.archive)
            raise ResultsFolderError(f"cannot unpack {archive!r}: {reason_of(error)}") from None
        try:
            return {rename_corrupt(path): fault for path, fault in self.damaged().items()}
        except OSError as error:
            raise ResultsFolderError(
                f"cannot rename {str(error.filename)!r}: {reason_of(error)}"
            ) from None

    def clean_up(self) -> None:
        """Remove what killed processes left: partly written files, checkpoints of trained trials.

        To be called only while no other process writes to the folder. Checkpoints of trials that
        are not stored as ``ok`` stay.

        Raises:
            ResultsFolderError: see ``Store.check_in_place``.
        """
        store = self.store
        store.check_in_place()
        for folder in (store.folder, *store.subfolders):
            for path in folder.glob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)
        for name, record in self.records().items():
            if record.status == "ok":
                store.remove(Checkpoint(store.checkpoints, name).path)
        _remove_empty(store.checkpoints)
        _remove_empty(store.weights)

    def remove_weights(self) -> int:
        """Remove the weights of the study's trials with nothing left to measure or to retry.

        Returns:
            How many trials had weights.

        Raises:
            ResultsFolderError: see ``Store.check_in_place``, or a record cannot be read.
        """
        self.store.check_in_place()
        removed = 0
        for name, record in self.records().items():
            if not record.missing(self.study) and not record.failures(self.study):
                path = Weights(self.store.weights, name).path
                removed += path.exists()
                self.store.remove(path)
        _remove_empty(self.store.weights)
        return removed


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it does not exist, or has a file of a trial
        folder.rmdir()


def _test_images(record: TrialRecord) -> int:
    return sum(record.class_images)
