"""The batches of an epoch: their order, the part of the images that is used, and their flips."""

from __future__ import annotations

import pytest
import torch

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.data.images import ImageData
from helpers.compiler import has_compiler

NONE = Augmentation((), flip=False)


def numbered_images(count: int) -> ImageData:
    """Return images with distinct levels and labels: every pixel of image i is i."""
    level = torch.arange(count) % 256
    images = level.to(torch.uint8)[:, None, None, None].expand(count, 32, 32, 3).contiguous()
    return ImageData(images, torch.arange(count), images, torch.arange(count), (), True, "")


def one_epoch(
    data: ImageData, *augment: str, batch_size: int = 64, seed: int = 0, epoch: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(batches(data, batch_size, seed, epoch, Augmentation(augment, flip=data.flip)))
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


@pytest.mark.parametrize("batch_size", [1, 64, 200, 1000])
def test_an_epoch_has_each_image_once_with_its_label(batch_size: int) -> None:
    images, labels = one_epoch(numbered_images(200), batch_size=batch_size)
    assert sorted(labels.tolist()) == list(range(200))
    levels = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(levels, labels)


def test_the_last_batch_has_the_remaining_images() -> None:
    sizes = [len(labels) for _, labels in batches(numbered_images(200), 64, 0, 1, NONE)]
    assert sizes == [64, 64, 64, 8]


def test_the_order_depends_only_on_seed_and_epoch() -> None:
    data = numbered_images(200)
    order = one_epoch(data)[1].tolist()
    assert one_epoch(data, batch_size=7)[1].tolist() == order
    assert one_epoch(data, "flip")[1].tolist() == order
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        assert one_epoch(data)[1].tolist() == order
    assert one_epoch(data, seed=1)[1].tolist() != order
    assert one_epoch(data, epoch=2)[1].tolist() != order
    assert order != list(range(200))


def half_bright(count: int) -> ImageData:
    """Return images whose right half is bright, so that a mirrored one is seen."""
    data = numbered_images(count)
    images = torch.zeros_like(data.train_images)
    images[:, :, 16:] = 255
    return ImageData(**{**vars(data), "train_images": images})


def mirrored(images: torch.Tensor) -> torch.Tensor:
    return images[:, 0, 0, 0] > images[:, 0, 0, 31]


def test_images_are_mirrored_left_to_right_half_of_the_time_when_asked() -> None:
    images, _ = one_epoch(half_bright(1000), "flip")
    # 1,000 fair draws lie within four standard deviations of 500
    assert abs(int(mirrored(images).sum()) - 500) < 4 * 15.8
    assert torch.equal(images[mirrored(images)][0], images[~mirrored(images)][0].flip(2))


def test_no_image_is_mirrored_when_not_asked() -> None:
    assert not mirrored(one_epoch(half_bright(1000))[0]).any()


def test_which_images_are_mirrored_depends_only_on_seed_and_epoch() -> None:
    data = half_bright(200)
    which = mirrored(one_epoch(data, "flip")[0]).tolist()
    assert mirrored(one_epoch(data, "flip", batch_size=7)[0]).tolist() == which
    assert mirrored(one_epoch(data, "flip", seed=1)[0]).tolist() != which
    assert mirrored(one_epoch(data, "flip", epoch=2)[0]).tolist() != which


def test_batches_do_not_change_the_global_generators() -> None:
    before = torch.get_rng_state()
    one_epoch(numbered_images(100), "flip")
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_do_not_change_the_images() -> None:
    data = half_bright(100)
    one_epoch(data, "flip")
    assert torch.equal(data.train_images, half_bright(100).train_images)


@has_compiler
@pytest.mark.parametrize("augment", [(), ("flip", "crop:4", "cutout:8", "gaussian_noise:0.1")])
def test_native_kernels_prepare_the_same_batches(augment: tuple[str, ...]) -> None:
    data, part = numbered_images(200), torch.arange(3, 173)
    torch.manual_seed(0)
    data.train_images.random_(256)
    augmentation = Augmentation(augment, flip=True)
    usual = batches(data, 64, 1, 2, augmentation, part)
    native = batches(data, 64, 1, 2, augmentation, part, native=True)
    for expected, found in zip(usual, native, strict=True):
        assert all(map(torch.equal, found, expected))
