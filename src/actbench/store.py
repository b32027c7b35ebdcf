"""The results folder: atomic files, one record per finished trial, the lock, the study it is of."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
from typing import TYPE_CHECKING, Any

from actbench.checkpoint import Checkpoint
from actbench.errors import ResultsFolderError, UsageError
from actbench.files import MAKING, writing_whole
from actbench.lock import held_alone, held_for_a_moment
from actbench.record import OtherFormatError, TrialRecord, record_from_json, record_to_json
from actbench.study import Study, Trial, conflicts, study_from_toml, study_to_toml, trial_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUDY_FILE = "study.toml"
ENVIRONMENT_FILE = "environment.json"


class Store:
    """A results folder. Reading needs nothing; writing is done inside ``with store.locked():``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def begin(self, study: Study) -> list[Path]:
        """Make the folder hold ``study``, which may have other activations and seeds than before.

        A file that is no whole record of its trial is set aside as ``*.corrupt``.

        Returns:
            The files that were set aside, by their new names.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), a
                record of another format, or cannot be written.
        """
        if self.holds_study():
            different = conflicts(self.study(), study)
            if different:
                raise ResultsFolderError(
                    f"{str(self.folder)!r} holds another study: {'; '.join(different)} "
                    "(choose another folder with --out)"
                )
        self.write_text(STUDY_FILE, study_to_toml(study))
        corrupt = []
        for trial in study.trials():
            path = self._path(study, trial)
            try:
                self._read(path)
            except ValueError:
                corrupt.append(path.with_suffix(".json.corrupt"))
                _rename(path, corrupt[-1])
        return corrupt

    def sweep(self, study: Study) -> None:
        """Remove what killed processes left behind, while nobody else writes into the folder.

        That is half-written files, and checkpoints of trials that are stored as ``ok``.
        """
        for folder in (self.folder, self._trials, self.checkpoints, self.folder / "figures"):
            for path in folder.glob(f".*{MAKING}"):
                path.unlink(missing_ok=True)
        for name, record in self.records(study).items():
            if record.status == "ok":
                Checkpoint(self.checkpoints, name).path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or holds a trial under way
            self.checkpoints.rmdir()

    def set_aside(self) -> Path:
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
        return aside

    def records(self, study: Study) -> dict[str, TrialRecord]:
        """Return the records of the study's trials that are stored, by trial id, in its order.

        A file that is no whole record of its trial counts as none.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        found = {}
        with no_search_for_cycles():
            for trial in study.trials():
                with contextlib.suppress(ValueError):
                    record = self._read(self._path(study, trial))
                    if record is not None:
                        found[record.trial_id] = record
        return found

    def _path(self, study: Study, trial: Trial) -> Path:
        return self._trials / f"{trial_id(study, trial)}.json"

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
            raise ValueError("another trial's record")
        self._seen[path] = (signature, record)
        return record

    def write_record(self, record: TrialRecord) -> None:
        """Store a finished trial's record, atomically; its checkpoint is needed no more."""
        self.write_text(f"trials/{record.trial_id}.json", record_to_json(record))
        Checkpoint(self.checkpoints, record.trial_id).path.unlink(missing_ok=True)

    def environment(self) -> dict[str, Any]:
        """Return what ``write_environment`` stored; empty where there is none."""
        try:
            text = (self.folder / ENVIRONMENT_FILE).read_text(encoding="utf-8")
            content = json.loads(text)
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

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
            ResultsFolderError: it cannot be written; the old file is as it was.
        """
        path = self.folder / name
        try:
            with writing_whole(path, to_disk=to_disk) as file:
                file.write(content)
        except OSError as error:
            raise ResultsFolderError(f"cannot write {str(path)!r}: {_reason(error)}") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone.

        Raises:
            ResultsFolderError: another run holds it, it cannot be written, or a folder in it is a
                symbolic link.
        """
        with held_alone(self.folder):
            self._refuse_links()
            self._alone = True
            try:
                yield
            finally:
                self._alone = False

    @contextlib.contextmanager
    def locked_for_a_moment(self) -> Iterator[None]:
        """Hold the folder while shards may be at work in it; where it is held already, go on.

        Raises:
            ResultsFolderError: a run holds it alone, it cannot be written, or a folder in it is a
                symbolic link.
        """
        if self._alone:
            yield
            return
        with held_for_a_moment(self.folder):
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
def no_search_for_cycles() -> Iterator[None]:
    """Spare a fifth of the time: many records are many objects, and all of them stay."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


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
