"""A checksum of everything that a complete results folder was made from.

While it is unchanged, the same command has nothing to do and reads no record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from actbench.data.datasets import DATASETS, find_source
from actbench.errors import UsageError
from actbench.files.atomic import expanded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.store.store import Store
    from actbench.study.study import Study

INPUTS_FILE = ".inputs"
PACKAGE = Path(__file__).parents[1]


def write_inputs(store: Store, asked: Study, run: Study, *, until_decided: bool) -> None:
    """Store the checksum of a folder that has every trial of the study and every document.

    Args:
        store: the results folder, locked.
        asked: the study as the user gave it, before names are resolved.
        run: the study as it was run. If it uses the user's own code, nothing is stored, because
            that code must be imported to find out whether it, or what it returns, has changed.
        until_decided: whether seeds were added as needed.

    Raises:
        ResultsFolderError: it cannot be written.
    """
    if run.code or DATASETS.parse(run.dataset).imported:
        return
    store.write_text(INPUTS_FILE, _checksum(store.folder, asked, until_decided=until_decided))


def are_unchanged(store: Store, asked: Study, *, until_decided: bool) -> bool:
    """Return whether every trial of the study is stored and no input or output has changed since.

    Compares the name, size and modification time of every record, document, data file and source
    file of actbench. False if that is unknown.
    """
    try:
        stored = (store.folder / INPUTS_FILE).read_text(encoding="utf-8")
        return stored == _checksum(store.folder, asked, until_decided=until_decided)
    except (OSError, ValueError, KeyError, UsageError):  # the data may be gone
        return False


def _checksum(folder: Path, asked: Study, *, until_decided: bool) -> str:
    data = find_source(asked.dataset, asked.data_dir).fingerprint
    if data is None:  # whether the data is the same is known only after reading
        raise UsageError(f"dataset {asked.dataset!r} has no fingerprint")
    published = [Path(asked.cifar10c), expanded(asked.cifar10c)] if asked.cifar10c else []
    folders = [folder, folder / "trials", folder / "figures", *published]
    lines = [
        json.dumps(dataclasses.asdict(asked), sort_keys=True),
        f"{until_decided}",
        data(),
        *(line for part in folders for line in _files(part)),
        *(line for part in _package_folders() for line in _files(part)),
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _package_folders() -> list[Path]:
    folders = (PACKAGE, *PACKAGE.rglob("*/"))
    return sorted(folder for folder in folders if folder.name != "__pycache__")


def _files(folder: Path) -> Iterator[str]:
    """Yield the name, size and modification time of every file that is not hidden."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        files = [(e.name, e.stat()) for e in entries if e.is_file() and e.name[0] != "."]
    for name, status in sorted(files):
        yield f"{name} {status.st_size} {status.st_mtime_ns}"
