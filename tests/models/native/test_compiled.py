"""The C++ source is compiled once for a processor, and no other user's library is loaded."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from actbench.errors import UsageError
from actbench.models.native import compiled
from actbench.models.native.compiled import prepare
from helpers.compiler import has_compiler

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def built_quickly(
    built_anew: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compile anew, a source of one line in place of the kernels."""
    folder, name = tmp_path_factory.mktemp("source"), compiled.SOURCES[0]
    source = folder / f"{name}.cpp"
    source.write_text('extern "C" int answer() { return 42; }\n', encoding="utf-8")
    monkeypatch.setattr(compiled, "FOLDER", folder)
    monkeypatch.setattr(compiled, "SOURCES", (name,))


@pytest.fixture
def made(built_quickly: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the compiled library, the only one in a cache of its own."""
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    prepare()
    (path,) = (tmp_path / "actbench").glob("compiled*/*.so")
    return path


@has_compiler
def test_a_compiled_library_is_kept_for_the_next_process(made: Path) -> None:
    assert [path.suffix for path in sorted(made.parent.iterdir())] == [".sha256", ".so"]
    before = made.stat()
    prepare()
    assert made.stat() == before


@has_compiler
@pytest.mark.parametrize("name", ["conv_pool.cpp", "vectors.h"])
def test_another_text_is_compiled(made: Path, name: str) -> None:
    with (compiled.FOLDER / name).open("a", encoding="utf-8") as file:
        file.write("// another line\n")
    prepare()
    assert len(list(made.parent.glob("*.so"))) == 2


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"planted")


def without_checksum(path: Path) -> None:
    path.with_suffix(".sha256").unlink()


def writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


@has_compiler
def test_a_changed_library_is_compiled_again(made: Path) -> None:
    content, mode = made.read_bytes(), made.stat().st_mode
    assert stat.S_IMODE(mode) & 0o022 == 0
    for spoil in (truncated, emptied, replaced, without_checksum, writable_by_others, a_link):
        spoil(made)
        prepare()
        assert made.read_bytes() == content, spoil
        assert made.lstat().st_mode == mode, spoil
        assert made.with_suffix(".sha256").read_text().split()[1] == made.name, spoil


@has_compiler
@pytest.mark.usefixtures("built_quickly")
@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_no_other_user_may_write_to_the_compiled_library(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    before = os.umask(umask)
    try:
        prepare()
    finally:
        os.umask(before)
    (folder,) = (tmp_path / "actbench").glob("compiled*")
    assert [p for p in (folder, *folder.iterdir()) if p.stat().st_mode & 0o022] == []
    folder.chmod(0o777)
    with pytest.raises(UsageError, match=r"belongs to another user, or others may write to it"):
        prepare()


@has_compiler
@pytest.mark.usefixtures("built_quickly")
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="another user is needed, so root is"
)
def test_a_folder_of_another_user_is_not_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    prepare()
    (folder,) = (tmp_path / "actbench").glob("compiled*")
    os.chown(folder, 65534, 65534)
    with pytest.raises(UsageError, match=r"belongs to another user, or others may write to it"):
        prepare()


@pytest.mark.usefixtures("built_anew")
def test_a_missing_compiler_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"^no C\+\+ compiler was found \(c\+\+, g\+\+, clang"):
        prepare()
    monkeypatch.setenv("CXX", "/nowhere/c++ -m64")
    with pytest.raises(UsageError, match=r"^no C\+\+ compiler was found \(/nowhere/c\+\+ -m64\)$"):
        prepare()
    monkeypatch.setenv("CXX", '"c++')
    with pytest.raises(UsageError, match=r"CXX is .*, which is no command: No closing quotation"):
        prepare()
    monkeypatch.setenv("CXX", " ")
    with pytest.raises(UsageError, match=r"^no C\+\+ compiler was found \(c\+\+, g\+\+, clang"):
        prepare()


@pytest.mark.usefixtures("built_anew")
def test_a_compiler_that_fails_is_named_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho starting >&2\necho 'error: out of luck' >&2\nexit 3\n")
    broken.chmod(stat.S_IRWXU)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(UsageError, match=r"broken-c\+\+ fails: error: out of luck$"):
        prepare()


@has_compiler
@pytest.mark.usefixtures("built_quickly")
def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        UsageError, match=r"cannot write the cache '.*/compiled.*/conv_pool-.*Not a d"
    ):
        prepare()


@has_compiler
@pytest.mark.usefixtures("built_anew")
def test_every_source_is_compiled_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    prepare()
    found = {path.stem.rpartition("-")[0] for path in tmp_path.glob("actbench/compiled*/*.so")}
    assert found == {path.stem for path in compiled.FOLDER.glob("*.cpp")}
