"""Files of the results folder: written whole or not at all, with usual modes, not through links."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING

import pytest

from actbench.errors import ResultsFolderError
from actbench.files import atomic as files
from actbench.store.store import Store
from helpers.small_store import STUDY, files_in, record_of

if TYPE_CHECKING:
    from pathlib import Path


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
