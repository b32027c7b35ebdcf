"""Made images are kept, checked and shared, and the oldest give way to new ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from actbench.cache import cache_limit, cached_images
from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Outcome


def test_cached_images_are_made_once_and_again_where_the_file_is_damaged(
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
    (file,) = (tmp_path / "images").iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-40] ^= 1
    for damaged in (whole[:100], whole[:-1], b"", b"no array", bytes(flipped)):
        file.write_bytes(damaged)
        assert torch.equal(cached_images("key", make), images)
    assert len(made) == 6
    assert [p.name for p in (tmp_path / "images").iterdir()] == [file.name]


def images_of(level: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.full((10, 10, 10, 1), level, dtype=torch.uint8)


def kept(tmp_path: Path, keys: str) -> list[str]:
    """Return which of the keys the cache has: a process of its own asks, as another study would."""
    script = (
        "import sys, torch\n"
        "from actbench.cache import cached_images\n"
        "for key in sys.argv[1]:\n"
        "    made = []\n"
        "    cached_images(key, lambda: made.append(1) or torch.zeros(1, dtype=torch.uint8))\n"
        "    print(key if not made else '', end='')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, keys],
        env={**os.environ, "ACTBENCH_CACHE": str(tmp_path), "ACTBENCH_CACHE_LIMIT": "1 GB"},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(done.stdout)


def test_those_not_used_for_longest_give_way(
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


def test_what_a_killed_process_left_half_written_gives_way_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("ACTBENCH_CACHE_LIMIT", "4 kB")
    left = tmp_path / "images" / ".abc.making"
    left.parent.mkdir()
    left.write_bytes(bytes(3500))
    cached_images("a", images_of(1))
    assert [path.suffix for path in left.parent.iterdir()] == [".npy"]


def test_a_file_that_cannot_be_written_whole_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, torch\n"
        "from actbench.cache import cached_images\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "cached_images('a', lambda: torch.zeros(100_000, dtype=torch.uint8))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "ACTBENCH_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"UsageError: cannot write the data cache '.*': 100000 req", done.stderr)
    assert list((tmp_path / "images").iterdir()) == []


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
