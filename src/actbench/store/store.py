"""The results folder: its study and environment, its lock, and how its files are written."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

from actbench.errors import START_OVER, ResultsFolderError, UsageError, folder_gone, reason_of
from actbench.files.atomic import atomic_write, folder_identity
from actbench.store.environment import parse_environment, read_environments
from actbench.store.lock import brief_lock, exclusive_lock
from actbench.store.record_files import RecordFiles
from actbench.store.stored_study import StoredStudy
from actbench.store.weights import WEIGHTS_FOLDER
from actbench.study.study import Study, conflicts, with_unused_code
from actbench.study.toml import format_of, study_from_toml, study_to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY_FILE = "study.toml"
CHECKPOINTS_FOLDER = "checkpoints"
ENVIRONMENT_FILE = "environment.json"


class Store:
    """A results folder. Reading needs no lock; write only inside ``with store.locked():``.

    Args:
        folder: the folder, whether or not it exists.
        within: the store that this folder is a part of, if any.
    """

    def __init__(self, folder: Path, within: Store | None = None) -> None:
        self.folder = folder
        self._within = within
        self._identity: tuple[int, int] | None = None
        self.record_files = RecordFiles(folder)
        self._is_locked = False

    def exists(self) -> bool:
        """Return whether the path exists."""
        return _is_there(self.folder)

    def holds_study(self) -> bool:
        """Return whether the folder has a study file, readable or not."""
        return _is_there(self.folder / STUDY_FILE)

    def study(self) -> Study:
        """Return the folder's study.

        Raises:
            ResultsFolderError: there is none, or it cannot be read.
        """
        try:
            return study_from_toml(self.study_text(), str(self.folder / STUDY_FILE))
        except UsageError as error:
            raise ResultsFolderError(str(error)) from None

    def study_text(self) -> str:
        """Return the text of the study file.

        Raises:
            ResultsFolderError: there is none, or it cannot be read.
        """
        path = self.folder / STUDY_FILE
        try:
            return path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise ResultsFolderError(
                f"{str(self.folder)!r} is not a results folder: it has no {STUDY_FILE}"
            ) from None
        except OSError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {reason_of(error)}") from None
        except UnicodeDecodeError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {error}") from None

    def is_format1(self) -> bool:
        """Return whether the folder was written by an earlier version (see ``format1``).

        Raises:
            ResultsFolderError: its study cannot be read.
        """
        return format_of(self.study_text()) == 1

    def check_format(self) -> None:
        """Check that trials can be added to the folder.

        Raises:
            ResultsFolderError: it was written by an earlier version, or cannot be read.
        """
        if self.holds_study() and self.is_format1():
            raise ResultsFolderError(
                f"{str(self.folder)!r} was written by an earlier version of actbench, whose "
                "networks were not stored, so nothing can be added to it; `actbench report` and "
                f"`actbench compare` read it ({START_OVER})"
            )

    def check_ours(self) -> None:
        """Check that the folder is a results folder, missing, or has only hidden files.

        Nothing is written, no lock either.

        Raises:
            ResultsFolderError: it has files and no study file.
        """
        if self.holds_study():
            return
        with contextlib.suppress(OSError):  # missing or not a folder: locking it reports that
            if any(path.name[0] != "." for path in self.folder.iterdir()):
                raise ResultsFolderError(
                    f"{str(self.folder)!r} is not empty and not a results folder: it has no "
                    f"{STUDY_FILE}; choose another folder with --out"
                )

    def check_study(self, study: Study) -> None:
        """Check that the folder holds no other study than this one.

        Activations, seeds and measurements may differ, and so may the source of code of which no
        trial is stored.

        Raises:
            ResultsFolderError: it does (the differing fields are listed), or cannot be read.
        """
        if not self.holds_study():
            return
        self.check_format()
        there = self.study()
        if there.code != study.code:
            there = with_unused_code(there, study, self._specs_with_trials(there))
        different = conflicts(there, study)
        if different:
            raise ResultsFolderError(
                f"{str(self.folder)!r} holds another study: {'; '.join(different)} ({START_OVER})"
            )

    def has_trials_of(self, spec: str) -> bool:
        """Return whether a trial of the stored study with this activation or network is stored."""
        return spec in self._specs_with_trials(self.study())

    def _specs_with_trials(self, there: Study) -> set[str]:
        records = self.open(there).records().values()
        return {spec for record in records for spec in (record.activation, there.model)}

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints of running trials."""
        return self.folder / CHECKPOINTS_FOLDER

    @property
    def weights(self) -> Path:
        """The folder of the trained weights."""
        return self.folder / WEIGHTS_FOLDER

    @property
    def subfolders(self) -> tuple[Path, ...]:
        """The folders in it that are written to."""
        return (
            self.record_files.folder,
            self.checkpoints,
            self.weights,
            self.folder / "figures",
        )

    def open(self, study: Study) -> StoredStudy:
        """Return the records of a study in this folder; nothing is read or written yet."""
        return StoredStudy(self, study)

    def write_study(self, study: Study) -> None:
        """Make the folder hold a study, which may differ in activations, seeds and measurements.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), or
                cannot be written.
        """
        self.check_in_place()
        self.check_study(study)
        self._write(STUDY_FILE, study_to_toml(study).encode())
        self._identity = folder_identity(self.folder)

    def make_trial_folders(self) -> None:
        """Create the folders of checkpoints and weights.

        Running trials write to them as long as they exist.

        Raises:
            ResultsFolderError: they cannot be made, or see ``check_in_place``.
        """
        self.check_in_place()
        for folder in (self.checkpoints, self.weights):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                reason = f"cannot write {str(folder)!r}: {reason_of(error)}"
                raise ResultsFolderError(reason) from None

    def remove(self, path: Path) -> None:
        """Remove a file of the folder, if it is there.

        Raises:
            ResultsFolderError: it cannot be removed.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ResultsFolderError(f"cannot remove {str(path)!r}: {reason_of(error)}") from None

    def archive(self) -> Path:
        """Rename the folder to the first unused of ``<name>.1``, ``<name>.2``, … and return that.

        Raises:
            ResultsFolderError: it is not a results folder, is locked by another run, or cannot be
                renamed.
        """
        folder = self.folder.resolve()
        if not self.holds_study():
            raise ResultsFolderError(
                f"{str(self.folder)!r} is not a results folder: it has no {STUDY_FILE}; "
                "it is left unchanged"
            )
        with self.locked():
            pass  # no other run has it
        names = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
        unused = next(path for path in names if not os.path.lexists(path))
        try:
            folder.replace(unused)
        except OSError as error:
            raise ResultsFolderError(f"cannot rename {str(folder)!r}: {reason_of(error)}") from None
        self._identity = None
        return unused

    def environment(self) -> dict[str, Any]:
        """Return what ``write_environment`` stored (see ``environment.read_environments``).

        Empty if the file is missing or damaged.
        """
        try:
            return read_environments(self._environment())
        except (OSError, ValueError):
            return read_environments({})

    def damaged_environment(self) -> dict[Path, str]:
        """Return ``environment.json`` with what is wrong with it, if it cannot be read."""
        try:
            self._environment()
        except ValueError as error:
            return {self.folder / ENVIRONMENT_FILE: str(error)}
        except OSError:
            pass
        return {}

    def _environment(self) -> dict[str, Any]:
        return parse_environment((self.folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Store when, where and how fast the study ran; no other file has times."""
        text = json.dumps(environment, indent=1) + "\n"
        self.write_bytes(ENVIRONMENT_FILE, text.encode(), to_disk=False)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder as UTF-8: see ``write_bytes``."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes, *, to_disk: bool = True) -> None:
        """Write a file of the folder atomically: see ``files.atomic.atomic_write``.

        Args:
            name: the file's path in the folder.
            content: the file's content.
            to_disk: whether to flush it to disk, so that it survives a loss of power.

        Raises:
            ResultsFolderError: it cannot be written, or see ``check_in_place``; the old file stays.
        """
        self.check_in_place()
        self._write(name, content, to_disk=to_disk)

    def _write(self, name: str, content: bytes, *, to_disk: bool = True) -> None:
        path = self.folder / name
        try:
            with atomic_write(path, to_disk=to_disk) as file:
                file.write(content)
        except OSError as error:
            raise ResultsFolderError(f"cannot write {str(path)!r}: {reason_of(error)}") from None

    def check_in_place(self) -> None:
        """Check that the folder is still the one that ``write_study`` wrote to.

        Raises:
            ResultsFolderError: it was deleted, emptied or renamed since.
        """
        if self._within is not None:
            self._within.check_in_place()
        if self._identity is None:
            return
        if folder_identity(self.folder) != self._identity or not self.holds_study():
            raise folder_gone(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            ResultsFolderError: another run has locked it, it cannot be written, or a folder in it
                is a symbolic link.
        """
        with exclusive_lock(self.folder):
            self._refuse_links()
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    @contextlib.contextmanager
    def locked_briefly(self) -> Iterator[None]:
        """Lock the folder for a short time while shards may be running.

        Does nothing inside ``locked``.

        Raises:
            ResultsFolderError: a run has locked it, it cannot be written, a folder in it is a
                symbolic link, or see ``check_in_place``.
        """
        self.check_in_place()
        if self._is_locked:
            yield
            return
        with brief_lock(self.folder):
            self._refuse_links()
            yield

    def _refuse_links(self) -> None:
        for path in self.subfolders:
            if path.is_symlink():
                raise ResultsFolderError(
                    f"{str(path)!r} is a symbolic link, and nothing in a results folder is written "
                    "through one; put a folder in its place"
                )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long; writing reports it
        return False
