"""Records in one archive: the same results as from one file per trial, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from actbench.analysis.stored_frames import read_frames
from actbench.report.write import derived_files
from actbench.store.record import record_to_json
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.stored import stored_form
from helpers.synthetic import IMAGES, synthetic_records

STUDY = Study(activations=("relu", "tanh"), seeds=(0, 1), attacks=("fgsm",), attack_images=IMAGES)
RECORDS = {name: stored_form(r) for name, r in synthetic_records(STUDY).items()}
TOOL = Path(__file__).parents[2] / "tools" / "publish.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with every record of STUDY; read-only."""
    store = Store(tmp_path_factory.mktemp("store") / "results")
    stored = store.open(STUDY)
    stored.begin()
    for record in RECORDS.values():
        stored.write(record)
    return store


@pytest.fixture(scope="module")
def published_once(store: Store) -> Path:
    """Return the folder that ``tools/publish.py`` makes; read-only."""
    copy = store.folder.with_name("copy")
    subprocess.run([sys.executable, str(TOOL), str(store.folder), str(copy)], check=True)
    assert not (copy / "trials").exists()
    return copy


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Store:
    """Return the store of a copy of that folder, to write to."""
    return Store(shutil.copytree(published_once, tmp_path / "copy"))


def test_archived_records_give_the_documents_of_the_files(store: Store, published: Store) -> None:
    documents = derived_files(read_frames(published, published.study()))
    assert documents == derived_files(read_frames(store, STUDY))
    assert published.open(STUDY).pending() == []
    assert published.open(STUDY).damaged() == {}


def test_the_same_records_give_the_same_archive(
    store: Store, published: Store, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    copy = shutil.copytree(store.folder, tmp_path / "later", copy_function=shutil.copyfile)
    subprocess.run([sys.executable, str(TOOL), str(copy), str(again)], check=True)
    archive = published.record_files.archive.read_bytes()
    assert Store(again).record_files.archive.read_bytes() == archive


def test_a_file_overrides_its_archived_copy(published: Store) -> None:
    stored = published.open(STUDY)
    first = next(iter(stored.records().values()))
    assert first.clean is not None
    newer = replace(first, clean=replace(first.clean, loss=9.0))
    stored.write(newer)
    assert stored.records() == {**RECORDS, first.trial_id: newer}


def test_a_run_unpacks_the_archive_and_keeps_every_record(published: Store) -> None:
    stored = published.open(STUDY)
    assert stored.begin() == {}
    assert not published.record_files.archive.exists()
    names = {path.stem: path.read_text() for path in published.record_files.folder.iterdir()}
    assert names == {name: record_to_json(record) for name, record in RECORDS.items()}


def rewrite(archive: Path, contents: dict[str, bytes]) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        for name, content in contents.items():
            packed.writestr(name, content)


def test_a_damaged_archived_record_is_named_and_the_others_are_read(published: Store) -> None:
    archive, (first, *others) = published.record_files.archive, RECORDS
    contents = {f"{name}.json": record_to_json(RECORDS[name]).encode() for name in RECORDS}
    contents[f"{first}.json"] = b"{}"
    rewrite(archive, contents)
    stored = published.open(STUDY)
    assert list(stored.records()) == others
    ((path, fault),) = stored.damaged().items()
    assert path == archive
    assert fault.startswith(f"{first}.json: ")
    ((renamed, _),) = stored.begin().items()
    assert renamed.name == f"{first}.json.corrupt"
    assert list(stored.records()) == others


def test_an_archive_with_a_flipped_bit_is_renamed_and_its_other_records_are_kept(
    published: Store,
) -> None:
    archive, (first, *others) = published.record_files.archive, RECORDS
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as packed:
        member = packed.getinfo(f"{first}.json")
    content[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 1
    archive.write_bytes(content)
    stored = published.open(STUDY)
    assert list(stored.records()) == others
    assert list(stored.begin()) == [archive.with_name("trials.zip.corrupt")]
    assert archive.with_name("trials.zip.corrupt").read_bytes() == content
    assert list(stored.records()) == others


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_is_no_archive_counts_as_none_and_is_renamed(content: bytes, published: Store) -> None:
    archive = published.record_files.archive
    archive.write_bytes(content)
    stored = published.open(STUDY)
    assert stored.records() == {}
    assert list(stored.damaged()) == [archive]
    assert list(stored.begin()) == [archive.with_name("trials.zip.corrupt")]
    assert len(stored.pending()) == len(RECORDS)


@pytest.mark.parametrize("name", ["../outside.json", "/outside.json", "notes.txt"])
def test_an_archive_of_other_files_is_not_unpacked(name: str, published: Store) -> None:
    archive = published.record_files.archive
    rewrite(archive, {name: b"{}"})
    stored = published.open(STUDY)
    ((path, fault),) = stored.damaged().items()
    assert path == archive
    assert repr(name) in fault
    stored.begin()
    assert not published.record_files.folder.exists()
