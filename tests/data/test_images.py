"""Data in memory: digits, the shared cache, batches and their random draws."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from actbench.data import datasets
from actbench.data.images import ImageData, normalise, open_images, prepare, study_images
from actbench.errors import UnavailableError, UsageError
from actbench.files.cache import cached_images, checksum
from actbench.study.registry import Entry
from actbench.study.study import Study
from helpers.forked import run_script

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.digits


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return open_images(prepare("digits"))


# the digits


def test_digits_are_1437_training_and_360_test_images_of_32_by_32(digits: ImageData) -> None:
    assert digits.train_images.shape == (1437, 32, 32, 3)
    assert digits.test_images.shape == (360, 32, 32, 3)
    assert digits.train_images.dtype == digits.test_images.dtype == torch.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == torch.int64
    assert digits.classes == tuple("0123456789")


def test_digits_use_all_of_scikit_learns_images_once(digits: ImageData) -> None:
    labels = torch.cat([digits.train_labels, digits.test_labels])
    assert torch.bincount(labels).tolist() == np.bincount(load_digits().target).tolist()


def test_the_digits_split_is_stratified(digits: ImageData) -> None:
    expected = np.bincount(load_digits().target) * 360 / 1797
    assert np.abs(torch.bincount(digits.test_labels).numpy() - expected).max() < 1


def test_digits_are_grey_and_use_the_whole_range(digits: ImageData) -> None:
    images = digits.train_images
    assert torch.equal(images[..., 0], images[..., 1])
    assert torch.equal(images[..., 0], images[..., 2])
    assert (int(images.min()), int(images.max())) == (0, 255)


def test_digits_are_enlarged_bilinearly(digits: ImageData) -> None:
    original = torch.from_numpy(load_digits().images).float() * (255 / 16)
    enlarged = F.interpolate(original[:, None], (32, 32), mode="bilinear")[:, 0]
    every = torch.cat([digits.train_images, digits.test_images])[..., 0].float()
    # each of ours is within rounding of one enlarged original
    nearest = torch.cdist(every[:50].flatten(1), enlarged.flatten(1), p=torch.inf).amin(1)
    assert float(nearest.max()) <= 1.5


def test_a_mirrored_digit_is_another_so_digits_are_never_flipped(digits: ImageData) -> None:
    assert digits.flip is False


def test_digits_take_no_data_dir(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes no data_dir"):
        prepare("digits", str(tmp_path))


def test_an_unknown_data_set_is_refused_with_the_closest_name() -> None:
    with pytest.raises(UsageError, match="unknown dataset 'cifar01'; did you mean 'cifar10'"):
        prepare("cifar01")


def test_every_process_gets_the_same_digits(digits: ImageData, tmp_path: Path) -> None:
    script = (
        "from actbench.data.images import open_images, prepare; "
        "print(open_images(prepare('digits')).checksum)"
    )
    done = run_script(script, env={**os.environ, "ACTBENCH_CACHE": str(tmp_path)})
    assert done.stdout.strip() == digits.checksum


# the cache


@pytest.mark.parametrize(
    "damage",
    [
        "flipped bit",
        "cut",
        "missing",
        *(pytest.param(damage, marks=pytest.mark.slow) for damage in ("emptied", "no header")),
    ],
)
def test_a_damaged_cache_file_is_replaced(
    damage: str, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path))
    path = prepare("digits")
    content = path.read_bytes()
    match damage:
        case "flipped bit":
            path.write_bytes(content[:50_000] + bytes([content[50_000] ^ 1]) + content[50_001:])
        case "cut":
            path.write_bytes(content[:50_000])
        case "emptied":
            path.write_bytes(b"")
        case "no header":
            path.write_bytes(bytes(len(content)))
        case "missing":
            path.unlink()
    again = open_images(prepare("digits"))
    assert again.checksum == digits.checksum
    assert torch.equal(again.train_images, digits.train_images)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_data_missing_from_the_cache_is_prepared_again(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "cache"))
    path, study = prepare("digits"), Study(data_checksum=digits.checksum)
    shutil.rmtree(tmp_path / "cache")
    assert study_images(path, study).checksum == digits.checksum
    path.write_bytes(path.read_bytes()[:50_000])
    assert study_images(path, study).checksum == digits.checksum
    path.unlink()
    other = Study(data_checksum=f"sha256:{'0' * 64}")
    with pytest.raises(UnavailableError, match="is gone or damaged, and the data has changed"):
        study_images(path, other)
    path.unlink()
    gone = Study(dataset="imagefolder", data_dir=str(tmp_path / "absent"))
    with pytest.raises(UnavailableError, match=r"cannot be prepared again: data_dir '.*' is not"):
        study_images(path, gone)


def test_a_complete_cache_file_is_used_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare("digits")

    def poison(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setitem(
        datasets.DATASETS,
        "digits",
        Entry(
            lambda name, data_dir: datasets.Source(
                datasets._digits(name, data_dir).fingerprint, poison
            )
        ),
    )
    assert prepare("digits") == folder


def test_a_cache_that_cannot_be_written_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACTBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UsageError, match="cannot write the cache"):
        prepare("digits")
    with pytest.raises(UsageError, match="cannot write the cache"):
        cached_images("key", lambda: torch.zeros(1, dtype=torch.uint8))


def test_the_checksum_covers_images_and_labels() -> None:
    data = open_images(prepare("digits"))
    names = ("train_images", "train_labels", "test_images", "test_labels")
    for name in names:
        changed = {each: getattr(data, each).clone() for each in names}
        assert checksum(changed) == data.checksum
        changed[name].view(-1)[-1] += 1
        assert checksum(changed) != data.checksum


def test_only_the_first_training_images_can_be_used(digits: ImageData) -> None:
    few = digits.train_subset(100)
    assert torch.equal(few.train_images, digits.train_images[:100])
    assert torch.equal(few.train_labels, digits.train_labels[:100])
    assert torch.equal(few.test_images, digits.test_images)
    assert digits.train_subset(0) is digits


def test_more_training_images_than_there_are_is_a_usage_error(digits: ImageData) -> None:
    with pytest.raises(UsageError, match="1438; the data has 1437 training images"):
        digits.train_subset(1438)


# batches


def test_normalised_images_are_in_minus_one_to_one_with_exact_ends() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    x = normalise(levels[:, None, None, None].expand(256, 32, 32, 3).contiguous())
    assert x.shape == (256, 3, 32, 32)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x[0].unique().tolist() == [-1.0]
    assert x[255].unique().tolist() == [1.0]
    expected = (levels.double() / 255 - 0.5) / 0.5
    torch.testing.assert_close(x[:, 0, 0, 0].double(), expected, rtol=0, atol=2e-7)
