"""The results folder: atomic files, one record per finished trial, the lock, the study it is of."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from actbench.errors import ResultsFolderError, UsageError, folder_gone
from actbench.files import MAKING, atomic_write, folder_identity, set_aside
from actbench.store.checkpoint import Checkpoint
from actbench.store.environment import read_environments
from actbench.store.lock import brief_lock, exclusive_lock
from actbench.store.record import (
    NotNegative,
    OtherFormatError,
    TrialRecord,
    check_belongs,
    record_from_json,
    record_to_json,
    unpack_counts,
)
from actbench.study.plain import from_plain, parse_json
from actbench.study.study import Study, conflicts, trial_names
from actbench.study.toml import study_from_toml, study_to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY_FILE = "study.toml"
ENVIRONMENT_FILE = "environment.json"
# what the entries of environment.json may be that are computed with
_ENVIRONMENT: dict[str, Any] = {
    "environments": tuple[dict[str, Any], ...],
    "start": str,
    "packages": dict[str, str],
    "seconds": dict[str, NotNegative],
}


class Store:
    """A results folder. Reading needs nothing; writing is done inside ``with store.locked():``.

    Args:
        folder: the folder, there or not.
        within: the store of the folder that this one lies in, where that is a results folder.
    """

    def __init__(self, folder: Path, within: Store | None = None) -> None:
        self.folder = folder
        self._within = within
        self._identity: tuple[int, int] | None = None
        self._trials = folder / "trials"
        self._alone = False
        self._seen: dict[Path, tuple[tuple[int, ...], TrialRecord]] = {}  # reading takes long

    def exists(self) -> bool:
        """Return whether there is anything of the folder's name."""
        return _is_there(self.folder)

    def holds_study(self) -> bool:
        """Return whether the folder holds a study, readable or not."""
        return _is_there(self.folder / STUDY_FILE)

    def study(self) -> Study:
        """Return the study that the folder holds.

        Raises:
            ResultsFolderError: it holds none, or one that cannot be read.
        """
        path = self.folder / STUDY_FILE
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise ResultsFolderError(
                f"{str(self.folder)!r} is no results folder: it has no {STUDY_FILE}"
            ) from None
        except OSError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {_reason(error)}") from None
        except UnicodeDecodeError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {error}") from None
        try:
            return study_from_toml(text, str(path))
        except UsageError as error:
            raise ResultsFolderError(str(error)) from None

    @property
    def checkpoints(self) -> Path:
        """The folder of the trials under way."""
        return self.folder / "checkpoints"

    def begin(self, study: Study) -> dict[Path, str]:
        """Make the folder hold ``study``, which may have other activations and seeds than before.

        Returns:
            The files that were damaged: see ``archive_damaged``.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), a
                record of another format, or cannot be written.
        """
        self.check_in_place()
        if self.holds_study():
            different = conflicts(self.study(), study)
            if different:
                raise ResultsFolderError(
                    f"{str(self.folder)!r} holds another study: {'; '.join(different)} "
                    "(choose another folder with --out, or begin anew with --restart)"
                )
        self._write(STUDY_FILE, study_to_toml(study).encode())
        self._identity = folder_identity(self.folder)
        return self.archive_damaged(study)

    def archive_damaged(self, study: Study) -> dict[Path, str]:
        """Rename every damaged file to ``*.corrupt``; return the new names, each with the fault.

        Raises:
            ResultsFolderError: a record is of another format, or a file cannot be read or renamed.
        """
        try:
            return {set_aside(path): fault for path, fault in self.damaged(study).items()}
        except OSError as error:
            raise ResultsFolderError(
                f"cannot rename {str(error.filename)!r}: {_reason(error)}"
            ) from None

    def damaged(self, study: Study) -> dict[Path, str]:
        """Return the damaged files of the folder, each with what is wrong with it.

        Damaged is a file of the study's trials that is not the whole record of its trial, and an
        ``environment.json`` that cannot be read.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        _, damaged = self._read_all(study)
        with contextlib.suppress(OSError):
            try:
                self._environment()
            except ValueError as error:
                damaged[self.folder / ENVIRONMENT_FILE] = str(error)
        return damaged

    def make_checkpoints_folder(self) -> None:
        """Make the folder of the trials under way, which they write to while it is there.

        Raises:
            ResultsFolderError: it cannot be made, or see ``check_in_place``.
        """
        self.check_in_place()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"cannot write {str(self.checkpoints)!r}: {_reason(error)}"
            raise ResultsFolderError(reason) from None

    def sweep(self, study: Study) -> None:
        """Remove what killed processes left behind, while nobody else writes into the folder.

        That is half-written files, and checkpoints of trials that are stored as ``ok``.

        Raises:
            ResultsFolderError: see ``check_in_place``.
        """
        self.check_in_place()
        for folder in (self.folder, self._trials, self.checkpoints, self.folder / "figures"):
            for path in folder.glob(f".*{MAKING}"):
                path.unlink(missing_ok=True)
        for name, record in self.records(study).items():
            if record.status == "ok":
                Checkpoint(self.checkpoints, name).path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or holds a trial under way
            self.checkpoints.rmdir()

    def archive(self) -> Path:
        """Rename the folder to the first free of ``<name>.1``, ``<name>.2``, … and return that.

        Raises:
            ResultsFolderError: it is no results folder, is held by another run, or cannot be
                renamed.
        """
        folder = self.folder.resolve()
        if not self.holds_study():
            raise ResultsFolderError(
                f"{str(self.folder)!r} is no results folder: it has no {STUDY_FILE}; "
                "it is left as it is"
            )
        with self.locked():
            pass  # nobody holds it
        beside = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
        aside = next(path for path in beside if not os.path.lexists(path))
        _rename(folder, aside)
        self._identity = None
        return aside

    def records(self, study: Study) -> dict[str, TrialRecord]:
        """Return the records of the study's trials that are stored, by trial id, in its order.

        A file that is no whole record of its trial counts as none: see ``damaged``.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        return self._read_all(study)[0]

    def _read_all(self, study: Study) -> tuple[dict[str, TrialRecord], dict[Path, str]]:
        """Return the whole records by trial id, and what is wrong with the other files."""
        found, damaged = {}, {}
        name_of = trial_names(study)
        there = _names_in(self._trials)
        with gc_paused():
            for trial in study.trials():
                name = f"{name_of(trial)}.json"
                if name not in there:
                    continue
                path = self._trials / name
                try:
                    record = self._read(path)
                    if record is not None:
                        check_belongs(record, study, trial)
                        found[record.trial_id] = record
                except ValueError as error:
                    damaged[path] = str(error)
        for name, fault in _odd_ones(found).items():
            del found[name]
            damaged[self._trials / f"{name}.json"] = fault
        return found, damaged

    def _read(self, path: Path) -> TrialRecord | None:
        """Return the record in a file; None without a file, a ValueError where it is damaged."""
        try:
            now = path.stat()
            signature = (now.st_mtime_ns, now.st_size, now.st_ino)
            if path in self._seen and self._seen[path][0] == signature:
                return self._seen[path][1]
            record = record_from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OtherFormatError as error:
            raise ResultsFolderError(f"{str(path)!r} has {error}") from None
        except OSError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {_reason(error)}") from None
        if record.trial_id != path.stem:
            raise ValueError("it is another trial's record")
        self._seen[path] = (signature, record)
        return record

    def write_record(self, record: TrialRecord) -> None:
        """Store a finished trial's record, atomically; its checkpoint is needed no more."""
        self.write_text(f"trials/{record.trial_id}.json", record_to_json(record))
        Checkpoint(self.checkpoints, record.trial_id).path.unlink(missing_ok=True)

    def environment(self) -> dict[str, Any]:
        """Return what ``write_environment`` stored (see ``environment.read_environments``).

        Nothing where there is no such file, or it is damaged.
        """
        try:
            return read_environments(self._environment())
        except (OSError, ValueError):
            return read_environments({})

    def _environment(self) -> dict[str, Any]:
        content = parse_json((self.folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        for name, kind in _ENVIRONMENT.items():
            if name in content:
                try:
                    from_plain(kind, content[name])
                except ValueError as error:
                    raise ValueError(f"{name} {error}") from None
        return content

    def write_environment(self, environment: dict[str, Any]) -> None:
        """Store when, where and how fast the study ran; the only file that holds times."""
        text = json.dumps(environment, indent=1) + "\n"
        self.write_bytes(ENVIRONMENT_FILE, text.encode(), to_disk=False)

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder as UTF-8: see ``write_bytes``."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes, *, to_disk: bool = True) -> None:
        """Write a file of the folder so that a reader or a crash meets the old or the new, whole.

        Args:
            name: the file's path in the folder.
            content: what it shall hold.
            to_disk: whether that shall outlast a loss of power too.

        Raises:
            ResultsFolderError: it cannot be written, or see ``check_in_place``; the old file is as
                it was.
        """
        self.check_in_place()
        self._write(name, content, to_disk=to_disk)

    def _write(self, name: str, content: bytes, *, to_disk: bool = True) -> None:
        path = self.folder / name
        try:
            with atomic_write(path, to_disk=to_disk) as file:
                file.write(content)
        except OSError as error:
            raise ResultsFolderError(f"cannot write {str(path)!r}: {_reason(error)}") from None

    def check_in_place(self) -> None:
        """Do nothing where the folder is still the one that ``begin`` made to hold its study.

        Raises:
            ResultsFolderError: it was deleted, emptied or renamed since; nothing may be written to
                what has its name now.
        """
        if self._within is not None:
            self._within.check_in_place()
        if self._identity is None:
            return
        if folder_identity(self.folder) != self._identity or not self.holds_study():
            raise folder_gone(self.folder)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            ResultsFolderError: another run holds it, it cannot be written, or a folder in it is a
                symbolic link.
        """
        with exclusive_lock(self.folder):
            self._refuse_links()
            self._alone = True
            try:
                yield
            finally:
                self._alone = False

    @contextlib.contextmanager
    def locked_briefly(self) -> Iterator[None]:
        """Hold the folder while shards may be at work in it; where it is held already, go on.

        Raises:
            ResultsFolderError: a run holds it alone, it cannot be written, a folder in it is a
                symbolic link, or see ``check_in_place``.
        """
        self.check_in_place()
        if self._alone:
            yield
            return
        with brief_lock(self.folder):
            self._refuse_links()
            yield

    def _refuse_links(self) -> None:
        for path in (self._trials, self.checkpoints, self.folder / "figures"):
            if path.is_symlink():
                raise ResultsFolderError(
                    f"{str(path)!r} is a symbolic link, and nothing in a results folder is written "
                    "through one; put a folder in its place"
                )


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Spare a fifth of the time: many records are many objects, and all of them stay."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _odd_ones(records: dict[str, TrialRecord]) -> dict[str, str]:
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


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - without a Path for each
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise ResultsFolderError(f"cannot read {str(folder)!r}: {_reason(error)}") from None


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long a name, for one: writing will say so
        return False


def _rename(path: Path, to: Path) -> None:
    try:
        path.replace(to)
    except OSError as error:
        raise ResultsFolderError(f"cannot rename {str(path)!r}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
