"""The results folder: one study, its records, what killed processes leave, and its name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from actbench.errors import ResultsFolderError
from actbench.store.record import TrialRecord, record_to_json
from actbench.store.store import Store
from actbench.study.study import Study
from helpers.small_store import STUDY, files_in, record_of

if TYPE_CHECKING:
    from pathlib import Path

# one study


def test_the_stored_study_is_the_same(store: Store) -> None:
    assert store.study() == STUDY


def test_a_folder_without_a_study_is_not_a_results_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsFolderError, match=r"not a results folder: it has no study\.toml"):
        Store(tmp_path).study()
    with pytest.raises(ResultsFolderError, match="not a results folder"):
        Store(tmp_path / "absent").study()


def test_a_study_file_of_another_format_is_refused_by_its_number(store: Store) -> None:
    path = store.folder / "study.toml"
    path.write_text(path.read_text().replace("format = 2", "format = 9"))
    with pytest.raises(ResultsFolderError, match="format 9; this actbench reads 1 and 2"):
        store.open(STUDY).begin()


def test_another_study_is_refused_with_every_differing_field(store: Store) -> None:
    before = (store.folder / "study.toml").read_bytes()
    other = replace(STUDY, epochs=3, learning_rate=0.5)
    with pytest.raises(ResultsFolderError) as error:
        store.open(other).begin()
    for part in (
        "holds another study",
        "epochs is 10 there and 3 here",
        "learning_rate is 0.002 there and 0.5 here",
        "--out",
    ):
        assert part in str(error.value)
    assert "momentum" not in str(error.value)
    assert (store.folder / "study.toml").read_bytes() == before


def test_a_study_may_grow_by_activations_seeds_and_measurements(store: Store) -> None:
    store.open(STUDY).write(record_of(0))
    grown = replace(STUDY, activations=("tanh", "relu", "elu"), seeds=(0, 1, 2))
    grown = replace(grown, corruptions=("fog",), attacks=("fgsm",), epsilons=(0.1,))
    store.open(grown).begin()
    assert store.study() == grown
    assert [r.activation for r in store.open(grown).records().values()] == ["relu"]


# records


def test_records_are_in_the_order_of_the_study(store: Store) -> None:
    for position in (3, 0, 2):
        store.open(STUDY).write(record_of(position))
    expected = {record_of(i).trial_id: record_of(i) for i in (0, 2, 3)}
    assert store.open(STUDY).records() == expected
    assert list(store.open(STUDY).records()) == list(expected)


def test_a_record_is_stored_under_its_trial_id(store: Store) -> None:
    store.open(STUDY).write(record_of(0))
    path = store.folder / "trials" / f"{record_of(0).trial_id}.json"
    assert path.read_text() == record_to_json(record_of(0))


DAMAGES = {
    "cut": lambda content: content[:-20],
    "emptied": lambda _: b"",
    "not text": lambda _: b"\xff\xfe\x00",
    "one bit": lambda content: content.replace(b'"seed": 0', b'"seed": 1'),
    "its format number": lambda content: content.replace(b'"format": 2', b'"format": 3'),
    "another trial's": lambda _: record_to_json(record_of(3)).encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_counts_as_none_and_is_renamed_when_a_run_begins(
    damage: str, store: Store
) -> None:
    store.open(STUDY).write(record_of(0))
    store.open(STUDY).write(record_of(1))
    path = store.folder / "trials" / f"{record_of(0).trial_id}.json"
    content = DAMAGES[damage](path.read_bytes())
    path.write_bytes(content)
    before = files_in(store.folder)
    assert list(store.open(STUDY).records()) == [record_of(1).trial_id]
    assert files_in(store.folder) == before, "reading changed the folder"
    assert list(store.open(STUDY).damaged()) == [path]
    assert list(store.open(STUDY).begin()) == [path.with_suffix(".json.corrupt")]
    assert not path.exists()
    assert path.with_suffix(".json.corrupt").read_bytes() == content
    assert list(store.open(STUDY).records()) == [record_of(1).trial_id]


SMALL = record_of(0)
MISFITS: dict[str, tuple[TrialRecord, str]] = {
    "another activation": (replace(SMALL, activation="elu"), "another trial's record"),
    "another seed": (replace(SMALL, seed=7), "another trial's record"),
    "too few epochs": (
        replace(SMALL, history=SMALL.history[:3]),
        "3 epochs, and the study has 10",
    ),
    "too many epochs": (
        replace(SMALL, history=(*SMALL.history, replace(SMALL.history[0], epoch=11))),
        "11 epochs, and the study has 10",
    ),
    "other test images": (
        replace(SMALL.without(SMALL.results), class_images=(3, 4)),
        "it has 7 test images, and others have 10000",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_record_that_does_not_belong_to_its_study_is_damaged(misfit: str, store: Store) -> None:
    record, fault = MISFITS[misfit]
    for position in (1, 2, 3):
        store.open(STUDY).write(record_of(position))
    store.open(STUDY).write(record)
    path = store.folder / "trials" / f"{SMALL.trial_id}.json"
    assert list(store.open(STUDY).records()) == [record_of(i).trial_id for i in (1, 2, 3)]
    ((damaged, found),) = store.open(STUDY).damaged().items()
    assert damaged == path
    assert fault in found


def test_no_damaged_file_replaces_an_earlier_one(store: Store) -> None:
    path = store.folder / "trials" / f"{record_of(0).trial_id}.json"
    path.parent.mkdir()
    for content in ("first", "second", "third"):
        path.write_text(content)
        (aside,) = store.open(STUDY).begin()
        assert aside.read_text() == content
    kept = {file.read_text() for file in path.parent.iterdir()}
    assert kept == {"first", "second", "third"}


def test_a_study_is_read_once_however_many_trials_it_has(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(STUDY, seeds=tuple(range(1000)))
    calls, identity = [], Study.identity
    monkeypatch.setattr(Study, "identity", lambda study: calls.append(1) or identity(study))
    store.open(large).records()
    assert len(calls) == 1


def test_a_record_of_a_newer_format_is_refused_and_kept(store: Store) -> None:
    store.open(STUDY).write(record_of(0))
    path = store.folder / "trials" / f"{record_of(0).trial_id}.json"
    newer = path.read_text().replace('"format": 2', '"format": 3,\n "new": 0')
    path.write_text(newer)
    message = r"\.json' has format 3; this actbench reads 2"
    for look in (store.open(STUDY).records, store.open(STUDY).begin):
        with pytest.raises(ResultsFolderError, match=message):
            look()
    assert path.read_text() == newer


def test_the_file_of_times_may_be_missing_or_damaged(store: Store) -> None:
    nothing = {"environments": [], "seconds": {}}
    assert store.environment() == nothing
    store.write_environment({"environments": [], "seconds": {"relu": 1.5}})
    assert store.environment() == {"environments": [], "seconds": {"relu": 1.5}}
    path = store.folder / "environment.json"
    for damaged in (
        "{",
        "[]",
        "",
        '{"seconds": [1]}',
        '{"seconds": {"relu": "1"}}',
        "[" * 200_000,
        '{"environments": 1}',
    ):
        path.write_text(damaged)
        assert store.environment() == nothing
        (aside,) = store.open(STUDY).begin()
        assert aside.name.startswith("environment.json.corrupt")
        assert aside.read_text() == damaged
        assert not path.exists()


# files left by killed processes


def test_clean_up_removes_partly_written_files_and_checkpoints_of_finished_trials(
    store: Store,
) -> None:
    failed = replace(record_of(1).without(record_of(1).results), status="crashed")
    store.open(STUDY).write(record_of(0))
    store.open(STUDY).write(failed)
    before = files_in(store.folder)
    for name in (".x.making", "trials/.x.making", "figures/.x.making", "checkpoints/.x.making"):
        store.write_text(name, "half")
    store.write_text(f"checkpoints/{record_of(0).trial_id}.pt", "finished")
    kept = {f"checkpoints/{record_of(i).trial_id}.pt" for i in (1, 2)}
    for name in kept:
        store.write_text(name, "running, or failed and to be retried")
    store.open(STUDY).clean_up()
    assert files_in(store.folder) == before | kept


def test_a_trial_that_crashed_keeps_its_checkpoint(store: Store) -> None:
    record = replace(record_of(1).without(record_of(1).results), status="crashed")
    store.write_text(f"checkpoints/{record.trial_id}.pt", "epoch 4")
    store.open(STUDY).write(record)
    assert (store.checkpoints / f"{record.trial_id}.pt").read_text() == "epoch 4"


def test_a_finished_trial_has_no_checkpoint(store: Store) -> None:
    store.write_text(f"checkpoints/{record_of(0).trial_id}.pt", "")
    store.open(STUDY).write(record_of(0))
    store.open(STUDY).clean_up()
    assert not store.checkpoints.exists()


# renaming the folder


def test_a_folder_is_renamed_to_the_first_unused_name(store: Store) -> None:
    (store.folder.parent / "results.1").write_text("taken")
    before = files_in(store.folder)
    assert store.archive() == store.folder.parent.resolve() / "results.2"
    assert not store.folder.exists()
    assert files_in(store.folder.parent / "results.2") >= before


def test_a_folder_without_a_study_is_not_renamed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(ResultsFolderError, match="not a results folder"):
        Store(tmp_path / "home").archive()
    assert files_in(tmp_path) == set()


def test_a_locked_folder_is_not_renamed(store: Store) -> None:
    with store.locked(), pytest.raises(ResultsFolderError, match="held by another run"):
        Store(store.folder).archive()
    assert store.folder.exists()
