"""Folders of format 1: the published studies give their tables, and nothing can be added."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actbench.analysis.stored_frames import read_frames
from actbench.report.tables import to_csv
from actbench.store.format1 import names_of_format1, open_format1, result_from_json
from actbench.store.record import content_checksum
from actbench.store.record_files import TRIALS_ARCHIVE
from actbench.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
FOLDERS = [p.parent for p in sorted(PUBLISHED.rglob("study.toml")) if Store(p.parent).is_format1()]
DEEP = PUBLISHED / "cifar10-jpeg-deep_cnn"
ATTACKED = Path(__file__).parent / "format1"  # two trials of each of two activations

pytestmark = pytest.mark.skipif(not FOLDERS, reason="no published study has format 1")


def a_record() -> dict[str, object]:
    """Return the content of a published record, without its format and checksum."""
    with zipfile.ZipFile(FOLDERS[0] / TRIALS_ARCHIVE) as archive:
        content = json.loads(archive.read(archive.namelist()[0]))
    del content["format"], content["checksum"]
    return content


def text_of(content: dict[str, object]) -> str:
    return json.dumps({"format": 1, "checksum": content_checksum(content), **content})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_published_record_is_found_by_its_name(folder: Path) -> None:
    store = Store(folder)
    study = store.study()
    stored = open_format1(store, study)
    assert stored.damaged() == {}
    names = names_of_format1(study)
    assert list(stored.records()) == [names(trial) for trial in study.trials()]


@pytest.mark.parametrize(
    ("folder", "tables"),
    [
        (DEEP, ("trials", "gradients", "comparisons")),
        (ATTACKED, ("trials", "gradients", "attacks")),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_tables_of_that_version_are_made_again_with_the_same_bytes(
    folder: Path, tables: tuple[str, ...]
) -> None:
    store = Store(folder)
    frames = read_frames(store, store.study())
    for table in tables:
        text = to_csv(getattr(frames, table))
        assert text.encode() == (folder / f"{table}.csv").read_bytes(), table


def test_report_and_compare_read_such_a_folder_and_run_refuses_it(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    shutil.copytree(DEEP, tmp_path / "old")
    before = (tmp_path / "old" / "trials.csv").read_bytes()
    assert actbench_here("report", "old").code == 0
    assert (tmp_path / "old" / "trials.csv").read_bytes() == before
    assert actbench_here("compare", "old", str(FOLDERS[0])).code == 0
    for more in ((), ("--dry-run",), ("--shard", "1/2")):
        done = actbench_here("run", "--workers", "0", "--out", "old", *more)
        assert done.code == 3
        assert done.err == (
            "actbench: 'old' was written by an earlier version of actbench, whose networks were "
            "not stored, so nothing can be added to it; `actbench report` and `actbench compare` "
            "read it (choose another folder with --out, or start over with --restart)\n"
        )


@pytest.mark.usefixtures("short_report")
def test_a_damaged_record_of_such_a_folder_is_named(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    shutil.copytree(DEEP, tmp_path / "old")
    store = Store(tmp_path / "old")
    store.record_files.unpack()
    first = next(store.record_files.folder.glob("relu-seed0-*"))
    first.write_text(first.read_text().replace('"seed": 0', '"seed": 1'))
    done = actbench_here("report", "old")
    assert f"{first.relative_to(tmp_path)} is damaged and left out" in done.err


FORGERIES: dict[str, tuple[dict[str, object], str]] = {
    "an accuracy that is not that of the images": (
        {"clean_accuracy": 0.75},
        "clean_correct has a mean of",
    ),
    "no images under corruption": ({"corrupted_correct": ""}, "corrupted_correct is empty"),
    "measurements of a crashed trial": ({"status": "crashed"}, "clean_accuracy has a value"),
    "no history": ({"history": []}, "history is empty"),
    "a field of another format": ({"class_images": [1]}, "class_images"),
    "a severity of text": (
        {"corruptions": [{"corruption": "fog", "severity": "1"}]},
        "corruptions does not have the fields of CorruptionScore",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_record_is_refused(forgery: str) -> None:
    changes, fault = FORGERIES[forgery]
    assert result_from_json(text_of(a_record())).status == "ok"
    with pytest.raises(ValueError) as error:
        result_from_json(text_of({**a_record(), **changes}))
    assert fault in str(error.value)
