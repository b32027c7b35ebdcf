"""The results folder: atomic files, one record per finished trial, the lock, the study it is of."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from actbench.errors import ResultsFolderError, UsageError
from actbench.record import OtherFormatError, TrialRecord, record_from_json, record_to_json
from actbench.study import Study, Trial, conflicts, study_from_toml, study_to_toml, trial_id

STUDY_FILE = "study.toml"
ENVIRONMENT_FILE = "environment.json"
LOCK_FILE = ".lock"
HOLDER_FILE = ".lock-holder"


class Store:
    """A results folder. Reading needs nothing; writing is done inside ``with store.locked():``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trials = folder / "trials"

    def exists(self) -> bool:
        """Return whether there is anything of the folder's name."""
        try:
            return self.folder.exists()
        except OSError:  # too long a name, for one: writing will say so
            return False

    def study(self) -> Study:
        """Return the study that the folder holds.

        Raises:
            ResultsFolderError: it holds none, or one that cannot be read.
        """
        path = self.folder / STUDY_FILE
        try:
            text = path.read_text(encoding="utf-8")
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

    def begin(self, study: Study) -> None:
        """Make the folder hold ``study``, which may have other activations and seeds than before.

        A file that is no whole record of its trial is set aside as ``*.corrupt``.

        Raises:
            ResultsFolderError: the folder holds another study (the differing fields are listed), a
                record of another format, or cannot be written.
        """
        if (self.folder / STUDY_FILE).exists():
            different = conflicts(self.study(), study)
            if different:
                raise ResultsFolderError(
                    f"{str(self.folder)!r} holds another study: {'; '.join(different)} "
                    "(choose another folder with --out)"
                )
        self.write_text(STUDY_FILE, study_to_toml(study))
        for trial in study.trials():
            path = self._path(study, trial)
            try:
                self._read(path)
            except ValueError:
                _rename(path, path.with_suffix(".json.corrupt"))

    def records(self, study: Study) -> dict[str, TrialRecord]:
        """Return the records of the study's trials that are stored, by trial id, in its order.

        A file that is no whole record of its trial counts as none.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        found = {}
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
            record = record_from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OtherFormatError as error:
            raise ResultsFolderError(f"{str(path)!r} has {error}") from None
        except OSError as error:
            raise ResultsFolderError(f"cannot read {str(path)!r}: {_reason(error)}") from None
        if record.trial_id != path.stem:
            raise ValueError("another trial's record")
        return record

    def write_record(self, record: TrialRecord) -> None:
        """Store a finished trial's record, atomically."""
        self.write_text(f"trials/{record.trial_id}.json", record_to_json(record))

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
        self.write_text(ENVIRONMENT_FILE, json.dumps(environment, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder as UTF-8: see ``write_bytes``."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the folder so that a reader or a crash meets the old or the new, whole.

        Raises:
            ResultsFolderError: it cannot be written; the old file is as it was.
        """
        path = self.folder / name
        making = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, making = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".making")
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(making).chmod(0o644)
            Path(making).replace(path)
            making = None
        except OSError as error:
            raise ResultsFolderError(f"cannot write {str(path)!r}: {_reason(error)}") from None
        finally:
            if making is not None:  # after an error, and after Ctrl-C
                Path(making).unlink(missing_ok=True)

    def locked(self) -> _Lock:
        """Return a context manager that holds the folder for this process alone."""
        return _Lock(self.folder)


class _Lock:
    """The operating system frees the lock when its holder dies, so a dead one holds nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE)

    def __enter__(self) -> Self:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0.2)
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            (self._folder / HOLDER_FILE).write_text(holder, encoding="utf-8")
        except Timeout:
            try:
                holder = (self._folder / HOLDER_FILE).read_text(encoding="utf-8")
            except OSError:
                holder = "another process"
            raise ResultsFolderError(
                f"{str(self._folder)!r} is held by another run: {holder}"
            ) from None
        except OSError as error:
            self._lock.release()
            raise ResultsFolderError(
                f"cannot write {str(self._folder)!r}: {_reason(error)}"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        (self._folder / HOLDER_FILE).unlink(missing_ok=True)
        self._lock.release()


def _rename(path: Path, to: Path) -> None:
    try:
        path.replace(to)
    except OSError as error:
        raise ResultsFolderError(f"cannot rename {str(path)!r}: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
