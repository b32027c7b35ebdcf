"""Tiny-ImageNet as it is published: the folder ``tiny-imagenet-200``."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.folders import (
    Source,
    add_files,
    alternating,
    files_in,
    folder_of,
    size_and_time,
)
from actbench.data.pictures import PictureReader
from actbench.errors import UsageError, reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = "tiny-imagenet-200"
TINY_IMAGENET_SIZE = 64
ANNOTATIONS = "val/val_annotations.txt"


def tiny_imagenet(dataset: str, data_dir: str) -> Source:
    """Return the images of Tiny-ImageNet; its validation images, which have labels, are the test.

    The classes are those of ``wnids.txt``, named by ``words.txt``. The training images are
    ``train/<wnid>/images/*``, the test images ``val/images/*``, with their classes in
    ``val/val_annotations.txt``.

    Raises:
        UsageError: a file or folder is missing, or the annotations do not fit the images.
    """
    if not data_dir:
        raise UsageError(
            f"dataset 'tiny_imagenet' needs --data-dir: the folder {FOLDER!r}, unpacked from "
            f"{FOLDER}.zip"
        )
    root = folder_of(data_dir)
    if not (root / "train").is_dir() and (root / FOLDER).is_dir():
        root /= FOLDER
    wnids = _lines(root, "wnids.txt")
    train = [
        (f"train/{wnid}/images/{name}", wnid)
        for wnid in wnids
        for name in _names_in(root, f"train/{wnid}/images")
    ]
    test = _annotated(root, set(wnids))

    def fingerprint() -> str:
        digest = hashlib.sha256(f"{dataset} {root.resolve()}".encode("utf-8", "surrogateescape"))
        texts = [
            "wnids.txt",
            ANNOTATIONS,
            *(["words.txt"] if (root / "words.txt").exists() else []),
        ]
        try:
            add_files(digest, "", ((name, *size_and_time(root / name)) for name in texts))
            for part in ("train", "val/images"):
                add_files(digest, part, sorted(files_in(root / part)))
        except OSError as error:
            raise UsageError(f"cannot read {str(root)!r}: {reason_of(error)}") from None
        return digest.hexdigest()

    return Source(
        fingerprint,
        lambda size, on_progress: _read(
            root, wnids, train, test, PictureReader(root, size or TINY_IMAGENET_SIZE, on_progress)
        ),
        TINY_IMAGENET_SIZE,
    )


def _read(
    root: Path,
    wnids: Sequence[str],
    train: Sequence[tuple[str, str]],
    test: Sequence[tuple[str, str]],
    reader: PictureReader,
) -> dict[str, Any]:
    order = sorted(wnids)
    index = {wnid: label for label, wnid in enumerate(order)}
    content: dict[str, Any] = {"classes": _class_names(root, order), "flip": True}
    parts = {
        "train": alternating([(name, index[wnid]) for name, wnid in train]),
        "test": [(name, index[wnid]) for name, wnid in test],
    }
    for part, files in parts.items():
        content[f"{part}_images"] = reader.read(
            len(files), [[(name, (root / name).read_bytes) for name, _ in files]]
        )
        content[f"{part}_labels"] = np.array([label for _, label in files], dtype=np.int64)
    return {**content, "notes": reader.notes(), "own_size": TINY_IMAGENET_SIZE}


def _lines(root: Path, name: str) -> list[str]:
    try:
        text = (root / name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(
            f"{str(root)!r} is not Tiny-ImageNet's folder: cannot read {name}: {reason}"
        ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    twice = next((line for line, count in Counter(lines).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"{str(root / name)!r} has the line {twice!r} twice")
    if not lines:
        raise UsageError(f"{str(root / name)!r} is empty")
    return lines


def _names_in(root: Path, folder: str) -> list[str]:
    try:
        names = sorted(name for name, _, _ in files_in(root / folder))
    except OSError as error:
        raise UsageError(f"cannot read {str(root / folder)!r}: {reason_of(error)}") from None
    if not names:
        raise UsageError(f"{str(root / folder)!r} has no images")
    return names


def _annotated(root: Path, wnids: set[str]) -> list[tuple[str, str]]:
    """Return the test images with their classes, in the order of the annotations."""
    there = set(_names_in(root, "val/images"))
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(root, ANNOTATIONS), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        where = f"{str(root / ANNOTATIONS)!r}, line {number}"
        if wnid not in wnids:
            raise UsageError(f"{where}: the class {wnid!r} is not in wnids.txt")
        if name not in there:
            raise UsageError(f"{where}: val/images has no {name!r}")
        if name in found:
            raise UsageError(f"{where}: {name!r} is annotated twice")
        found[name] = wnid
    if others := sorted(there - found.keys()):
        raise UsageError(f"{str(root / ANNOTATIONS)!r} has no class for val/images/{others[0]}")
    return [(f"val/images/{name}", wnid) for name, wnid in found.items()]


def _class_names(root: Path, wnids: Sequence[str]) -> list[str]:
    """Return a name for each class: its first word in ``words.txt``, with its id if not unique."""
    words: dict[str, str] = {}
    if (root / "words.txt").exists():
        for line in _lines(root, "words.txt"):
            wnid, _, synonyms = line.partition("\t")
            words[wnid] = synonyms.partition(",")[0].strip()
    names = [words.get(wnid) or wnid for wnid in wnids]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} ({wnid})"
        for name, wnid in zip(names, wnids, strict=True)
    ]
