"""Corruptions of the user's own: imported, checked before training, and measured like any other."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import torch

import actbench
from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.own import check_own_corruptions
from actbench.corruptions.specs import expand
from actbench.corruptions.test_sets import corrupted_test_images
from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from actbench.models.global_state import changes
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome

MINE = """
import numpy as np
import torch

MIDDLE = 0.5

def darker(images, severity, generator):
    noise = torch.rand(images.shape, generator=generator) * 0.1
    return (images * (1 - 0.1 * severity) - noise).clamp(0, 1)

def in_place(images, severity, generator):
    return images.mul_(0.5)

def global_draws(images, severity, generator):
    return torch.rand_like(images)

def numpy_draws(images, severity, generator):
    return torch.from_numpy(np.random.random(images.shape))

def smaller(images, severity, generator):
    return images[..., 1:]

def levels(images, severity, generator):
    return (images * 255).to(torch.uint8)

def array(images, severity, generator):
    return images.numpy()

def too_bright(images, severity, generator):
    return images + (0.5 if severity == 4 else 0)

def not_a_number(images, severity, generator):
    return images / 0

def raises(images, severity, generator):
    raise ValueError("no\\nimages")

def exits(images, severity, generator):
    raise SystemExit(3)

def two(images, severity):
    return images

class Kind:
    pass

def sets_dtype(images, severity, generator):
    torch.set_default_dtype(torch.float64)
    return images
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a file of corruptions, relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    return "./mine.py"


def images(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 28, 28, 3), dtype=torch.uint8, generator=generator)


def test_it_is_given_images_severity_and_a_generator_with_the_seed_of_the_spec(mine: str) -> None:
    spec = f"{mine}:darker"
    check_own_corruptions([spec, "fog"], images())
    for severity in (1, 5):
        generator = torch.Generator().manual_seed(seed_for("corruption", spec, severity))
        clean = images().permute(0, 3, 1, 2).float() / 255
        noise = torch.rand(clean.shape, generator=generator) * 0.1
        expected = (clean * (1 - 0.1 * severity) - noise).clamp(0, 1)
        expected = (expected * 255).byte().permute(0, 2, 3, 1)
        assert torch.equal(corrupt(images(), spec, severity), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("in_place", "changes its argument at severity 1; it must return new images"),
        ("global_draws", "gives other images for the same images and generator at severity 1"),
        ("numpy_draws", "gives other images for the same images and generator at severity 1"),
        ("smaller", "turns shape (3, 3, 28, 28) into (3, 3, 28, 27); it must keep the shape"),
        ("levels", "returns uint8; it must return floating-point values in [0, 1]"),
        ("array", "returns ndarray; it must return a torch.Tensor"),
        ("too_bright", "at severity 4 returns values from 0.5 to 1.5; they must be in [0, 1]"),
        ("not_a_number", "returns values that are not finite"),
        ("raises", "fails at severity 1: ValueError: no images"),
        ("exits", "fails at severity 1: SystemExit: 3"),
        ("two", "must be a function of (images, severity, generator), but: too many positional"),
        ("Kind", "must be a function of (images, severity, generator); it is <class"),
        ("MIDDLE", "must be a function of (images, severity, generator); it is 0.5"),
        ("dark", "has no 'dark'; did you mean 'darker'?"),
        ("darker:0.5", "takes no constants"),
        ("darker:share=0.5", "takes no constants"),
    ],
)
def test_one_that_does_not_fit_is_refused_in_one_line(mine: str, name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        check_own_corruptions(expand([f"{mine}:{name}"]), images())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_of_the_process_are_kept_and_only_those_that_it_changed_are_reported(
    mine: str,
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # it runs with one
    try:
        check_own_corruptions([f"{mine}:sets_dtype", f"{mine}:darker"], images())
        assert torch.get_default_dtype() == torch.float32
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    (change,) = changes([f"{mine}:sets_dtype", f"{mine}:darker"])
    assert change.startswith(f"{mine}:sets_dtype changed the default dtype for the process")


def test_images_are_made_again_when_the_source_changes(
    mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_images(prepare("digits"))
    spec = f"{mine}:darker"
    first = corrupted_test_images(data, spec, 1)
    assert int(first.max()) > 200
    (tmp_path / "mine.py").write_text(MINE.replace("* (1 - 0.1 * severity)", "* 0"))
    with pytest.raises(UsageError, match="its source has changed since this process imported it"):
        corrupted_test_images(data, spec, 1)
    monkeypatch.delitem(sys.modules, str(tmp_path / "mine.py"))  # as in another process
    assert int(corrupted_test_images(data, spec, 1).max()) == 0


@pytest.mark.usefixtures("short_report")
def test_a_study_measures_it_again_without_training_when_its_source_changes(
    mine: str,
    tmp_path: Path,
    actbench_here: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ("run", "--train-images", "64", "--epochs", "1", "--seeds", "1", "--workers", "0")
    asked = (*asked, "--activation", "relu", "--corruptions", f"{mine}:darker,fog", "--out", "out")
    done = actbench_here(*asked)
    assert done.code == 0, done.err
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "weights").iterdir()}
    assert weights
    table = actbench.load(tmp_path / "out").corruptions
    before = table.set_index("corruption")["loss"]
    assert list(table["corruption"].unique()) == [f"{mine}:darker", "fog"]
    assert list(table["level"]) == 2 * [f"severity {severity}" for severity in range(1, 6)]

    (tmp_path / "mine.py").write_text(MINE.replace("* (1 - 0.1 * severity)", "* 0"))
    monkeypatch.delitem(sys.modules, str(tmp_path / "mine.py"))  # as in another process
    done = actbench_here(*asked)
    assert done.code == 0, done.err
    after = actbench.load(tmp_path / "out").corruptions.set_index("corruption")["loss"]
    assert len(set(after[f"{mine}:darker"])) == 1  # every image is black now
    assert len(set(before[f"{mine}:darker"])) == 5
    assert list(after["fog"]) == list(before["fog"])
    assert {path: path.stat().st_mtime_ns for path in weights} == weights


def test_a_study_with_a_wrong_one_ends_before_any_training(
    mine: str, tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    done = actbench_here("run", "--corruptions", f"{mine}:too_bright", "--out", "out")
    assert done.code == 2
    assert "at severity 4 returns values" in done.err
    assert not (tmp_path / "out").exists()
