"""Image folders: ``train/<class>/…`` and ``test/<class>/…`` → uint8 arrays; found files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.pictures import PictureReader
from actbench.errors import UsageError
from actbench.files.atomic import expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

MAX_NAMED = 10  # missing classes that an error names
_IMAGE_FOLDERS = {
    "imagefolder": ("train", "test"),
    "tiny_imagenet": ("train", "val", "tiny-imagenet-200/train", "tiny-imagenet-200/val"),
}
_NOT_IMAGES = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Source:
    """A data set that was found, not yet read.

    Attributes:
        fingerprint: returns a text that changes when the data does, such as a digest of the files'
            names, sizes and times of change; None if that is known only after reading.
        read: takes the side of the images, S, or 0 for the data's own, and a function that is
            called with the number of images that are read and of all; returns ``train_images``,
            ``test_images`` (uint8, (N, S, S, 3)), ``train_labels``, ``test_labels`` (int64, (N,)),
            ``classes`` (their names), ``flip`` (whether a mirrored image keeps its label),
            ``notes`` (a sentence for each thing that was done to the images) and ``own_size`` (the
            data's own side, which 0 gives; 0 if it has none).
        own_size: the data's own side, if it is known before reading; else 0.
    """

    fingerprint: Callable[[], str] | None
    read: Callable[[int, Callable[[int, int], None]], dict[str, Any]]
    own_size: int = 0


def image_folder(dataset: str, data_dir: str) -> Source:
    """Return the images of a folder with ``train/<class>/`` and ``test/<class>/``.

    Raises:
        UsageError: a folder is missing, empty or cannot be read, or the classes differ.
    """
    if not data_dir:
        raise UsageError(
            "dataset 'imagefolder' needs --data-dir: a folder with train/<class>/ and test/<class>/"
        )
    root = folder_of(data_dir)
    parts: dict[str, list[str]] = {}
    digest = hashlib.sha256(f"{dataset} {root.resolve()}".encode("utf-8", "surrogateescape"))
    for part in ("train", "test"):
        folder = root / part
        if not folder.is_dir():
            raise UsageError(f"data_dir {data_dir!r} has no folder {part!r}: {str(folder)!r}")
        try:
            found = sorted(files_in(folder))
        except OSError as error:
            raise UsageError(f"cannot read {str(folder)!r}: {error}") from None
        add_files(digest, part, found)
        parts[part] = [name for name, _, _ in found]
    classes = _class_names(root, parts)
    return Source(
        digest.hexdigest,
        lambda size, on_progress: _read_image_folder(
            root, parts, classes, PictureReader(root, size, on_progress)
        ),
    )


def check_apart(folder: Path, dataset: str, data_dir: str) -> None:
    """Check that files written to a folder cannot be read as images of the data set.

    Raises:
        UsageError: the folder is one of those in which every file is an image, or inside one.
    """
    parts = _IMAGE_FOLDERS.get(dataset)
    if parts is None or not data_dir:
        return
    with contextlib.suppress(OSError, RuntimeError):  # as of a loop of links; refused later
        where = expanded(folder).resolve()
        root = expanded(data_dir).resolve()
        for part in (root / part for part in parts):
            if where.is_relative_to(part.resolve()):
                raise UsageError(
                    f"{str(folder)!r} is inside the data folder {str(part)!r}, so its files "
                    "would be read as images; give a folder outside it"
                )


def _class_names(root: Path, parts: dict[str, list[str]]) -> list[str]:
    found: dict[str, set[str]] = {}
    for part, names in parts.items():
        folder = root / part
        loose = next((name for name in names if "/" not in name), None)
        if loose is not None:
            raise UsageError(f"{str(folder / loose)!r} is not in a class folder")
        folders = sorted({name.partition("/")[0] for name in names})
        found[part] = set(map(_composed, folders))
        if len(found[part]) < len(folders):
            twice = next(name for name in folders if name != _composed(name))
            raise UsageError(
                f"{str(folder)!r} has two folders for the class {_composed(twice)!r}, which differ "
                "only in Unicode normalisation (NFC and NFD); merge them"
            )
        there = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
        empty = sorted(there - set(folders))
        if not found[part]:
            raise UsageError(
                f"{str(folder)!r} has no images; it needs {part}/<class>/<image files>"
            )
        if empty:
            raise UsageError(f"the class folder {str(folder / empty[0])!r} has no images")
        if len(found[part]) < 2:
            raise UsageError(f"{str(folder)!r} has only one class; training needs two or more")
    missing = {
        "train": sorted(found["test"] - found["train"]),
        "test": sorted(found["train"] - found["test"]),
    }
    if any(missing.values()):
        lists = [
            f"{part} has no {', '.join(map(repr, names[:MAX_NAMED]))}"
            + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
            for part, names in missing.items()
            if names
        ]
        raise UsageError(
            f"train and test in {str(root)!r} have different classes: {'; '.join(lists)}"
        )
    return sorted(found["train"])


def _composed(name: str) -> str:
    """Return a class name in NFC; file systems differ in the form that they store."""
    return unicodedata.normalize("NFC", name)


def _read_image_folder(
    root: Path, parts: dict[str, list[str]], classes: list[str], reader: PictureReader
) -> dict[str, Any]:
    index = {name: label for label, name in enumerate(classes)}
    content: dict[str, Any] = {"classes": classes, "flip": True}
    for part, names in parts.items():
        labelled = [(name, index[_composed(name.partition("/")[0])]) for name in names]
        order = alternating(labelled)
        names = [f"{part}/{name}" for name, _ in order]
        content[f"{part}_images"] = reader.read(
            len(names), [[(name, (root / name).read_bytes) for name in names]]
        )
        content[f"{part}_labels"] = np.array([label for _, label in order], dtype=np.int64)
    return {**content, "notes": reader.notes(), "own_size": reader.own_size}


def alternating(labelled: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return names and labels so that classes alternate: the first images are of all classes."""
    seen: Counter[int] = Counter()
    order = []
    for name, label in labelled:
        order.append((seen[label], label, name))
        seen[label] += 1
    return [(name, label) for _, label, name in sorted(order)]


def folder_of(data_dir: str) -> Path:
    """Return the folder that a ``data_dir`` names; raises a UsageError if there is none."""
    folder = expanded(data_dir)
    with contextlib.suppress(OSError):  # a name that is too long
        if folder.is_dir():
            return folder
    raise UsageError(f"data_dir {data_dir!r} is not a folder")


def add_files(digest: Any, part: str, files: Iterable[tuple[str, int, int]]) -> None:
    """Add names, sizes and times of change to the digest of a part such as ``train``."""
    for name, size, time in files:
        digest.update(f"{part}/{name}\0{size}\0{time}\n".encode("utf-8", "surrogateescape"))


def size_and_time(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    """Return a file's size in bytes and time of change in ns; raises an OSError if it is none."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
        raise OSError(f"{os.fspath(path)!r} is not a regular file")
    return status.st_size, status.st_mtime_ns


def files_in(folder: Path, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of every file below a folder but hidden and system ones."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _NOT_IMAGES:
                continue
            if entry.is_dir():
                yield from files_in(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", *size_and_time(entry)
