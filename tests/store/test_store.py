"""The results folder: atomic files, one study, one writer."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from actbench.errors import ResultsFolderError
from actbench.files import atomic as files
from actbench.store.record import TrialRecord, record_to_json
from actbench.store.store import Store
from actbench.study.study import Study, trial_id
from helpers.stored import stored_form
from helpers.synthetic import synthetic_records

if TYPE_CHECKING:
    from pathlib import Path

STUDY = Study(activations=("relu", "tanh"), seeds=(0, 1))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store that has STUDY and no record yet."""
    store = Store(tmp_path / "results")
    store.open(STUDY).begin()
    return store


def record_of(position: int, study: Study = STUDY) -> TrialRecord:
    return stored_form(synthetic_records(study)[trial_id(study, study.trials()[position])])


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# atomic files


def test_a_file_has_the_bytes_that_were_written(store: Store) -> None:
    store.write_bytes("deep/er/file.bin", b"\r\n\0\xff")
    assert (store.folder / "deep/er/file.bin").read_bytes() == b"\r\n\0\xff"
    store.write_text("text.md", "± −\n")
    assert (store.folder / "text.md").read_bytes() == "± −\n".encode()


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_leaves_only_the_complete_old_file(
    step: str, fault: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_text("summary.md", "old")
    before = files_in(store.folder)

    def fail(*_: object, **__: object) -> None:
        raise OSError(fault, os.strerror(fault))

    class Full(io.BytesIO):
        write = fail

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(type(store.folder), "open", lambda *_: Full())
        else:
            patch.setattr(os, step, fail)
        with pytest.raises(ResultsFolderError) as error:
            store.write_text("summary.md", "new")
    assert str(error.value) == (
        f"cannot write {str(store.folder / 'summary.md')!r}: {os.strerror(fault)}"
    )
    assert (store.folder / "summary.md").read_text() == "old"
    assert files_in(store.folder) == before


@pytest.mark.parametrize("fault", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_is_warned_of_once_and_written_to(
    fault: int,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: int) -> None:
        raise OSError(fault, os.strerror(fault))

    files._warn_of_no_fsync.cache_clear()
    monkeypatch.setattr(os, "fsync", fail)
    for text in ("one", "two"):
        store.write_text("summary.md", text)
        assert (store.folder / "summary.md").read_text() == text
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(
        f"the file system cannot flush files to disk (fsync: {os.strerror(fault)}): "
    )


@pytest.mark.skipif(os.name != "posix", reason="the system has no umask")
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_stored_files_have_the_modes_that_the_umask_allows(umask: int, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    before = os.umask(umask)
    try:
        with store.locked():
            store.open(STUDY).begin()
            store.open(STUDY).write(record_of(0))
            found = [store.folder, *store.folder.rglob("*")]
            modes = {path.name: path.stat().st_mode for path in found}
    finally:
        os.umask(before)
    assert {".lock", ".lock-holder", "study.toml", "trials"} <= set(modes)
    for mode in modes.values():
        assert stat.S_IMODE(mode) == (0o777 if stat.S_ISDIR(mode) else 0o666) & ~umask


@pytest.mark.parametrize("name", ["study.toml", ".lock-holder"])
def test_a_link_with_the_name_of_a_file_is_replaced_not_followed(
    name: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("precious")
    (store.folder / name).unlink(missing_ok=True)
    (store.folder / name).symlink_to(tmp_path / "precious")
    with store.locked():
        store.write_text("study.toml", "")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_lock_that_is_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    (store.folder / ".lock").symlink_to(tmp_path / "made")
    for lock in (store.locked, store.locked_briefly):
        with pytest.raises(ResultsFolderError, match=r"\.lock is a symbolic link"), lock():
            pass
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["trials", "checkpoints", "weights", "figures"])
def test_a_subfolder_that_is_a_link_is_refused_and_its_target_does_not_change(
    name: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".x.making").write_text("theirs")
    (store.folder / name).symlink_to(tmp_path / "elsewhere")
    for lock in (store.locked, store.locked_briefly):
        with pytest.raises(ResultsFolderError, match=rf"{name}' is a symbolic link"), lock():
            store.open(STUDY).clean_up()
    assert files_in(tmp_path / "elsewhere") == {".x.making"}


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_reported(
    fault: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def fail(*_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", fail)
    message = f"cannot lock '.*results': {os.strerror(fault)}; its file system must support file"
    with pytest.raises(ResultsFolderError, match=message), store.locked():
        pass


def test_ctrl_c_in_a_write_leaves_only_the_complete_old_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_text("summary.md", "old")
    before = files_in(store.folder)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write_text("summary.md", "new")
    assert (store.folder / "summary.md").read_text() == "old"
    assert files_in(store.folder) == before


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsFolderError, match=r"cannot write '.*/file/results"):
        Store(tmp_path / "file" / "results").open(STUDY).begin()


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
        "it is of 7 test images, and others are of 10000",
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


# one writer


def test_a_second_lock_is_refused_with_the_process_that_has_the_first(store: Store) -> None:
    with store.locked():
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ResultsFolderError) as error, Store(store.folder).locked():
            pass
        assert str(error.value) == f"{str(store.folder)!r} is held by another run: {holder}"
    with Store(store.folder).locked():
        pass


def test_an_error_releases_the_lock(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.locked():
        raise ZeroDivisionError
    with store.locked():
        pass


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_process_releases_its_lock(store: Store) -> None:
    script = (
        "import sys, time; from pathlib import Path; from actbench.store.store import Store\n"
        "with Store(Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(store.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ResultsFolderError, match=f"process {holder.pid} on"), store.locked():
            pass
        holder.kill()
    with store.locked():
        pass


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
