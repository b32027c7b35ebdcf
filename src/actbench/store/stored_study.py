"""A study in its results folder: which trials are stored, which are pending, what is damaged."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from actbench.errors import ResultsFolderError, reason_of
from actbench.files import PARTIAL, rename_corrupt
from actbench.store.checkpoint import Checkpoint
from actbench.store.record import TrialRecord, check_belongs, record_to_json, unpack_counts
from actbench.store.record_files import TRIALS_FOLDER
from actbench.study.plain import parse_json
from actbench.study.study import trial_names

if TYPE_CHECKING:
    from pathlib import Path

    from actbench.store.store import Store
    from actbench.study.study import Study, Trial


class StoredStudy:
    """The records of one study; made by ``Store.open``.

    Attributes:
        store: the results folder.
        study: the study, whose trials are the only ones that are read.
    """

    def __init__(self, store: Store, study: Study) -> None:
        self.store = store
        self.study = study
        name_of = trial_names(study)
        self._trials = {name_of(trial): trial for trial in study.trials()}

    def begin(self) -> dict[Path, str]:
        """Make the folder hold the study, which may have other activations and seeds than before.

        Returns:
            The new names of files that were damaged: see ``archive_damaged``.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), a
                record of another format, or cannot be written.
        """
        self.store.write_study(self.study)
        return self.archive_damaged()

    def records(self) -> dict[str, TrialRecord]:
        """Return the stored records of the study's trials by trial id, in the study's order.

        A file that is no complete record of its trial counts as none: see ``damaged``.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        return self._read()[0]

    def pending(self, *, retry_failed: bool = False) -> list[Trial]:
        """Return the trials that have no stored record, in the study's order.

        With ``retry_failed``, also those that diverged or crashed.

        Raises:
            ResultsFolderError: see ``records``.
        """
        stored = {
            name
            for name, record in self.records().items()
            if record.status == "ok" or not retry_failed
        }
        return [trial for name, trial in self._trials.items() if name not in stored]

    def write(self, record: TrialRecord) -> None:
        """Store a finished trial's record, atomically, and remove its checkpoint.

        Raises:
            ResultsFolderError: see ``Store.write_bytes``.
        """
        self.store.write_text(f"{TRIALS_FOLDER}/{record.trial_id}.json", record_to_json(record))
        Checkpoint(self.store.checkpoints, record.trial_id).path.unlink(missing_ok=True)

    def damaged(self) -> dict[Path, str]:
        """Return the damaged files of the folder, each with what is wrong with it.

        These are files of the study's trials that are not the complete record of their trial, an
        archive of records that cannot be read, and such an ``environment.json``.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        return {**self._read()[1], **self.store.damaged_environment()}

    def unknown_records(self) -> str:
        """Return a sentence on the JSON files in ``trials/`` that belong to no trial of the study.

        It names one of them, preferably a record of one of the study's trials. Empty if there are
        none.

        Raises:
            ResultsFolderError: the folder of records cannot be read.
        """
        files = self.store.record_files
        names = files.others(self._trials)
        if not names:
            return ""
        which = "1 JSON file" if len(names) == 1 else f"{len(names)} JSON files"
        verb = "belongs" if len(names) == 1 else "belong"
        sentence = (
            f"{which} in {str(files.folder)!r} {verb} to no trial of the study and "
            f"{'is' if len(names) == 1 else 'are'} not used: "
        )
        for name in names:
            trial_id = _trial_id_in(files.folder / name)
            if trial_id in self._trials:
                return f"{sentence}{name!r} is the record of {trial_id}; its name must be that"
        return f"{sentence}{names[0]!r}" if len(names) == 1 else f"{sentence}such as {names[0]!r}"

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
        """Remove what killed processes left: partly written files, checkpoints of stored trials.

        To be called only while no other process writes to the folder. Checkpoints of trials that
        are not stored as ``ok`` stay.

        Raises:
            ResultsFolderError: see ``Store.check_in_place``.
        """
        store = self.store
        store.check_in_place()
        figures = store.folder / "figures"
        for folder in (store.folder, store.record_files.folder, store.checkpoints, figures):
            for path in folder.glob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)
        for name, record in self.records().items():
            if record.status == "ok":
                Checkpoint(store.checkpoints, name).path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it does not exist, or has the state of a trial
            store.checkpoints.rmdir()

    def _read(self) -> tuple[dict[str, TrialRecord], dict[Path, str]]:
        """Return the complete records by trial id, and what is wrong with the other files."""
        files = self.store.record_files
        found, damaged = files.read(self._trials)
        faults = {}
        for name, record in found.items():
            try:
                check_belongs(record, self.study, self._trials[name])
            except ValueError as error:
                faults[name] = str(error)
        faults |= _other_test_sets({n: r for n, r in found.items() if n not in faults})
        for name, fault in faults.items():
            del found[name]
            path = files.path_of(name)
            damaged[path] = f"{name}.json: {fault}" if path == files.archive else fault
        return found, damaged


def _trial_id_in(path: Path) -> str:
    """Return the trial id in a JSON file; empty if there is none."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("trial_id", "")) if isinstance(content, dict) else ""


def _other_test_sets(records: dict[str, TrialRecord]) -> dict[str, str]:
    """Return the trials whose number of test images is not that of most, with what is wrong."""
    sizes = {
        name: unpack_counts(record.clean_correct).size
        for name, record in records.items()
        if record.status == "ok"
    }
    if len(set(sizes.values())) < 2:
        return {}
    usual = Counter(sizes.values()).most_common(1)[0][0]
    return {
        name: f"it is of {size} test images, and others are of {usual}"
        for name, size in sizes.items()
        if size != usual
    }
