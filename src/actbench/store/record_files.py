"""The record files of a results folder: one per trial in ``trials/``, or all in ``trials.zip``."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from actbench.errors import ResultsFolderError, reason_of
from actbench.files.atomic import atomic_write
from actbench.store.record import OtherFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from pathlib import Path


class Stored(Protocol):
    """A record, of whatever format."""

    @property
    def trial_id(self) -> str:
        """The trial's name in the folder."""


R = TypeVar("R", bound=Stored)

TRIALS_FOLDER = "trials"
TRIALS_ARCHIVE = "trials.zip"
_RECORD_NAME = re.compile(r"[^/\\]+\.json")
_DAMAGED_MEMBER = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class RecordFiles:
    """Reads record files. A file in ``trials/`` overrides its copy in the archive ``trials.zip``.

    A record that was read is kept in memory, and read again only after its file has changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / TRIALS_FOLDER
        self.archive = folder / TRIALS_ARCHIVE
        self._kept: dict[Path, tuple[tuple[int, ...], Any]] = {}

    def path_of(self, trial_id: str) -> Path:
        """Return the file that a trial's record is read from: its own one, else the archive."""
        path = self.folder / f"{trial_id}.json"
        return path if path.exists() else self.archive

    def read(
        self, trial_ids: Iterable[str], parse: Callable[[str], R]
    ) -> tuple[dict[str, R], dict[Path, str]]:
        """Return the complete records by trial id, and for each damaged file what is wrong.

        Args:
            trial_ids: the trials whose records are read.
            parse: returns the record of a text, or raises a ValueError; always the same function.

        Raises:
            ResultsFolderError: a record is of another format, or a file cannot be read.
        """
        found: dict[str, R] = {}
        damaged: dict[Path, str] = {}
        with gc_paused(), contextlib.ExitStack() as stack:
            archive = None
            try:  # first, since ``unpack`` removes the archive after it has written the files
                archive = stack.enter_context(self._open_archive())
            except FileNotFoundError:
                pass
            except OSError as error:
                raise _unreadable(self.archive, error) from None
            except ValueError as error:
                damaged[self.archive] = str(error)
            names = _names_in(self.folder)
            archived = frozenset() if archive is None else frozenset(archive.namelist())
            for trial_id in trial_ids:
                name = f"{trial_id}.json"
                path = self.folder / name
                try:
                    if name in names:
                        found[trial_id] = self._read_file(path, parse)
                    elif archive is not None and name in archived:
                        path = self.archive
                        found[trial_id] = self._read_member(archive, name, parse)
                except FileNotFoundError:  # it was renamed or removed just now
                    continue
                except OSError as error:
                    raise _unreadable(path, error) from None
                except OtherFormatError as error:
                    raise ResultsFolderError(f"{str(path)!r} has {error}") from None
                except ValueError as error:
                    damaged[path] = str(error) if path.name == name else f"{name}: {error}"
        return found, damaged

    def others(self, trial_ids: Container[str]) -> list[str]:
        """Return the names of JSON files in ``trials/`` that are named for none of the trials."""
        return sorted(
            name
            for name in _names_in(self.folder)
            if _RECORD_NAME.fullmatch(name) and name[0] != "." and name[:-5] not in trial_ids
        )

    def unpack(self) -> None:
        """Move the archived records to files in ``trials/``, where each can be replaced.

        An archive from which a record cannot be read stays where it is.

        Raises:
            OSError: the archive cannot be read, or a file not written.
        """
        try:
            with self._open_archive() as archive:
                complete = True
                for name in set(archive.namelist()) - _names_in(self.folder):
                    try:
                        content = _member(archive, name)
                    except ValueError:
                        complete = False
                        continue
                    with atomic_write(self.folder / name) as file:
                        file.write(content)
        except (FileNotFoundError, ValueError):
            return
        if complete:
            self.archive.unlink()

    def _open_archive(self) -> zipfile.ZipFile:
        """Return the open archive; raises an OSError, or a ValueError if it is damaged."""
        try:
            archive = zipfile.ZipFile(self.archive)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(str(error)) from None
        odd = next((name for name in archive.namelist() if not _RECORD_NAME.fullmatch(name)), None)
        if odd is not None:
            archive.close()
            raise ValueError(f"{odd!r} in it is not the name of a record")
        return archive

    def _read_file(self, path: Path, parse: Callable[[str], R]) -> R:
        status = path.stat()
        signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        if path in self._kept and self._kept[path][0] == signature:
            kept: R = self._kept[path][1]
            return kept
        return self._keep(path, signature, path.read_bytes(), parse)

    def _read_member(self, archive: zipfile.ZipFile, name: str, parse: Callable[[str], R]) -> R:
        path = self.archive / name
        member = archive.getinfo(name)
        signature = (member.CRC, member.file_size)
        if path in self._kept and self._kept[path][0] == signature:
            kept: R = self._kept[path][1]
            return kept
        return self._keep(path, signature, _member(archive, name), parse)

    def _keep(
        self, path: Path, signature: tuple[int, ...], content: bytes, parse: Callable[[str], R]
    ) -> R:
        record = parse(content.decode("utf-8"))
        if record.trial_id != path.stem:
            raise ValueError("it is another trial's record")
        self._kept[path] = signature, record
        return record


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Pause garbage collection, which takes a fifth of the time of reading many records."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except _DAMAGED_MEMBER as error:
        raise ValueError(str(error)) from None


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - without a Path for each
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> ResultsFolderError:
    return ResultsFolderError(f"cannot read {str(path)!r}: {reason_of(error)}")
