"""Cached images are checked and shared, and the least recently used are removed."""

from __future__ import annotations

import os
import re
import stat
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.data.images import prepare
from actbench.errors import UnavailableError, UsageError
from actbench.files.cache import cache_limit, cache_path, cached_images, store_tensors
from helpers.forked import run_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from helpers.runs import Outcome


def images_in(folder: Path) -> Path:
    """Return where the images of a cache in a folder are."""
    return folder / "actbench" / "images"


def test_cached_images_are_made_once_and_again_if_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    images = torch.arange(96, dtype=torch.uint8).reshape(2, 4, 4, 3)
    made: list[int] = []

    def make() -> torch.Tensor:
        made.append(1)
        return images

    assert torch.equal(cached_images("key", make), images)
    assert torch.equal(cached_images("key", make), images)
    assert len(made) == 1
    (file,) = images_in(tmp_path).iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damaged in (whole[:100], whole[:-1], b"", b"no array", bytes(flipped)):
        file.write_bytes(damaged)
        assert torch.equal(cached_images("key", make), images)
    assert len(made) == 6
    assert [p.name for p in images_in(tmp_path).iterdir()] == [file.name]


def images_of(level: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.full((10, 10, 10, 1), level, dtype=torch.uint8)


def kept(tmp_path: Path, keys: str) -> list[str]:
    """Return which of the keys the cache has, as seen by another process."""
    script = (
        "import sys, torch\n"
        "from actbench.files.cache import cached_images\n"
        "for key in sys.argv[1]:\n"
        "    made = []\n"
        "    cached_images(key, lambda: made.append(1) or torch.zeros(1, dtype=torch.uint8))\n"
        "    print(key if not made else '', end='')\n"
    )
    environment = {"ACTBENCH_CACHE": str(tmp_path), "ACTBENCH_CACHE_LIMIT": "1 GB"}
    done = run_script(script, keys, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return list(done.stdout)


def test_the_least_recently_used_images_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", "4 kB")
    for level, key in enumerate("abc"):
        cached_images(key, images_of(level))
    assert torch.equal(cached_images("a", images_of(9)), images_of(0)())  # the latest used now
    mapped = cached_images("b", images_of(9))
    cached_images("a", images_of(9))
    cached_images("c", images_of(9))
    cached_images("d", images_of(3))
    assert kept(tmp_path, "acdb") == ["a", "c", "d"]
    assert torch.equal(mapped, images_of(1)())  # who has it mapped keeps it


def test_partly_written_files_of_a_killed_process_are_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", "4 kB")
    script = (
        "import os, signal, torch\n"
        "from actbench.files import cache\n"
        "from actbench.files.cache import cache_path, storing\n"
        "with storing(cache_path('images', 'images.safetensors', 'a')) as making:\n"
        "    making.write_bytes(bytes(3500))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run_script(script, env=os.environ)
    (left,) = images_in(tmp_path).iterdir()
    assert left.stat().st_size == 3500
    cached_images("a", images_of(1))
    assert left.exists()  # another process may be writing it
    os.utime(left, (0, 0))
    cached_images("b", images_of(1))
    assert not left.exists()
    assert {path.suffix for path in left.parent.iterdir()} == {".safetensors"}


def test_other_files_stay_whatever_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", "1 kB")
    images_in(tmp_path).mkdir(parents=True)
    (tmp_path / "images").mkdir()
    theirs = [
        folder / name
        for folder in (tmp_path / "images", images_in(tmp_path))
        for name in ("holiday.jpg", "holiday.safetensors", ".hidden.making")
    ]
    for path in theirs:
        path.write_bytes(bytes(5000))
    for key in "abc":
        cached_images(key, images_of(1))
    assert [path for path in theirs if not path.exists()] == []


def test_only_the_cache_itself_is_tagged_for_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    cached_images("a", images_of(1))
    assert [path.name for path in tmp_path.iterdir()] == ["actbench"]
    tag = (tmp_path / "actbench" / "CACHEDIR.TAG").read_bytes()
    assert tag.startswith(b"Signature: 8a477f597d28d172789f06886806bc55\n")


def test_nothing_is_written_or_removed_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", "1 kB")
    cached_images("a", images_of(1))
    images_in(tmp_path / "cache").rename(tmp_path / "elsewhere")
    images_in(tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    before = [path.name for path in (tmp_path / "elsewhere").iterdir()]
    with pytest.raises(UnavailableError, match=r"images' is a symbolic link, and nothing in the"):
        cached_images("b", images_of(1))
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == before
    # a link in the place of a file is replaced
    (tmp_path / "precious").write_text("precious")
    path = cache_path("data", "x.safetensors", "")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "precious")
    store_tensors(path, {"x": torch.zeros(1, dtype=torch.uint8)})
    assert (tmp_path / "precious").read_text() == "precious"
    assert not path.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="the system has no umask")
@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_what_is_cached_has_the_modes_that_the_umask_allows(
    umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    before = os.umask(umask)
    try:
        prepare("digits")
        cached_images("a", images_of(1))
    finally:
        os.umask(before)
    found = list((tmp_path / "actbench").rglob("*"))
    assert len(found) == 5
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask


def others_can_import() -> bool:
    """Return whether another user can read the packages that the tests import."""
    folders = [Path(sysconfig.get_path("purelib")), Path(torch.__file__)]
    return all(parent.stat().st_mode & 0o001 for path in folders for parent in path.parents)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not others_can_import(),
    reason="needs root and packages that another user can read",
)
def test_another_user_reads_the_same_cache() -> None:
    script = (
        "import os, torch\n"
        "from actbench.files import cache\n"
        "from actbench.data.images import open_images, prepare\n"
        "def look():\n"
        "    cache._CHECKED.clear()\n"
        "    images = cache.cached_images('a', lambda: torch.zeros(9, dtype=torch.uint8))\n"
        "    return open_images(prepare('digits')).checksum, images.shape\n"
        "first = look()\n"
        "os.setuid(65534)\n"
        "assert look() == first\n"
    )
    # not in pytest's folder, which pytest closes to other users whenever it starts
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        done = run_script(script, env={**os.environ, "ACTBENCH_CACHE": folder})
    assert done.returncode == 0, done.stderr


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, torch\n"
        "from actbench.files.cache import cached_images\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "cached_images('a', lambda: torch.zeros(100_000, dtype=torch.uint8))\n"
    )
    done = run_script(script, env={**os.environ, "ACTBENCH_CACHE": str(tmp_path)})
    assert re.search(r"UnavailableError: cannot write the cache '.*': File too large", done.stderr)
    assert list(images_in(tmp_path).iterdir()) == []


def test_other_processes_map_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    cached_images("a", images_of(1))
    assert kept(tmp_path, "a") == ["a"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 10**10), ("2000", 2000), ("500 MB", 5 * 10**8), ("1.5gb", 15 * 10**8), ("0", 0)],
)
def test_the_limit_is_a_size(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", text)
    assert cache_limit() == size


@pytest.mark.parametrize("text", ["much", "-1", "5 parsecs", "1e9"])
def test_another_limit_is_refused_before_training(
    text: str, monkeypatch: pytest.MonkeyPatch, actbench_here: Callable[..., Outcome]
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", text)
    with pytest.raises(UsageError, match="ACTBENCH_CACHE_LIMIT is"):
        cache_limit()
    done = actbench_here("run", "--workers", "0", "--out", "nothing")
    assert done.code == 2
    assert "give a size such as '10 GB'" in done.err
