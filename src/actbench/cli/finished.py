"""A note in a finished results folder, so that the same command again need not read all of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from actbench.cli.summary import Summary
from actbench.data.datasets import DATASETS
from actbench.errors import UsageError
from actbench.study.plain import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.store.store import Store
    from actbench.study.study import Study

FINISHED_FILE = ".finished.json"


def write_finished(store: Store, asked: Study, summary: Summary, *, until_decided: bool) -> None:
    """Note that everything asked for is stored, with every derived file as it is now.

    There is no note where the study has code of the user's own, which has to be imported to know
    whether it has changed.

    Args:
        store: the results folder, held.
        asked: the study as it was asked for, names not yet resolved.
        summary: what was printed.
        until_decided: whether seeds were added as needed.

    Raises:
        ResultsFolderError: it cannot be written.
    """
    if store.study().code:
        return
    note = {
        "state": _state(store.folder, asked, until_decided=until_decided),
        "summary": dataclasses.asdict(summary),
    }
    store.write_text(FINISHED_FILE, json.dumps(note))


def read_finished(store: Store, asked: Study, *, until_decided: bool) -> Summary | None:
    """Return what the last run printed, where this one would do nothing and print the same.

    That is so where the same study was asked for, and no record, derived file, data file or part of
    actbench has changed since, by name, size and time of change. None where it is not so, or where
    nobody can tell.

    Raises:
        ResultsFolderError: the folder is held by another run.
    """
    if not os.path.isfile(store.folder / FINISHED_FILE):  # noqa: PTH113 - no name is too long
        return None
    with store.locked_for_a_moment():
        try:
            note = parse_json((store.folder / FINISHED_FILE).read_text(encoding="utf-8"))
            if note["state"] == _state(store.folder, asked, until_decided=until_decided):
                return Summary.from_plain(note["summary"])
        except (OSError, ValueError, TypeError, KeyError, UsageError):
            pass  # the whole way gives the same, or says what is wrong
    return None


def _state(folder: Path, asked: Study, *, until_decided: bool) -> str:
    find, _ = DATASETS[asked.dataset]
    lines = [
        json.dumps(dataclasses.asdict(asked), sort_keys=True),
        f"{until_decided}",
        find(asked.dataset, asked.data_dir).fingerprint(),
        *(_files(Path(asked.cifar10c).expanduser()) if asked.cifar10c else ()),
        *(_files(Path(asked.cifar10c)) if asked.cifar10c else ()),
        *_files(folder),
        *_files(folder / "trials"),
        *_files(folder / "figures"),
        *_files(Path(__file__).parent),
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Iterator[str]:
    """Yield every file's name, size and time of change; hidden ones are not part of the results."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        files = [(e.name, e.stat()) for e in entries if e.is_file() and e.name[0] != "."]
    for name, status in sorted(files):
        yield f"{name} {status.st_size} {status.st_mtime_ns}"
