"""Random changes of training images, against plain loops over single images."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.data.images import ImageData

SIDE = 12
ALL = ("flip", "crop:3", "cutout:5", "gaussian_noise:0.2")


def images_of(count: int, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)


def data_of(count: int) -> ImageData:
    images = images_of(count)
    return ImageData(images, torch.arange(count), images, torch.arange(count), (), True, "")


def epoch_of(
    data: ImageData, *augment: str, size: int = 32, seed: int = 0, epoch: int = 1
) -> torch.Tensor:
    augmentation = Augmentation(augment, flip=data.flip)
    return torch.cat([images for images, _ in batches(data, size, seed, epoch, augmentation)])


@pytest.mark.parametrize("side", [SIDE, 29])
@pytest.mark.parametrize("padding", [1, 4, SIDE])
def test_a_crop_is_a_part_of_the_image_on_black(padding: int, side: int) -> None:
    images = images_of(20, side)
    augmentation = Augmentation([f"crop:{padding}", "flip"], flip=True)
    draws = augmentation.draw(20, side, seed=3, epoch=2)
    cropped = augmentation.before(images, draws)
    for image, result, (top, left), mirror in zip(
        images, cropped, draws["crop"].tolist(), draws["flip"].tolist(), strict=True
    ):
        larger = torch.zeros(side + 2 * padding, side + 2 * padding, 3, dtype=torch.uint8)
        inner = image.flip(1) if mirror else image
        larger[padding : padding + side, padding : padding + side] = inner
        assert torch.equal(result, larger[top : top + side, left : left + side])


def test_every_place_of_a_crop_is_equally_likely() -> None:
    count = 9 * 400
    corners = Augmentation(["crop:1"], flip=True).draw(count, SIDE, 0, 1)["crop"]
    counts = (3 * corners[:, 0] + corners[:, 1]).bincount()
    assert len(counts) == 9
    # four standard deviations of a binomial count
    assert (counts - 400).abs().max() < 4 * (400 * 8 / 9) ** 0.5


@pytest.mark.parametrize("size", [1, 4, 5, SIDE])
@pytest.mark.parametrize("mean", [(0.5, 0.5, 0.5), (0.1, 0.6, 0.9)])
def test_cutout_sets_a_square_around_its_centre_to_the_mean_colour(
    size: int, mean: tuple[float, float, float]
) -> None:
    augmentation = Augmentation([f"cutout:{size}"], flip=True, mean=mean)
    before = torch.rand(20, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    draws = augmentation.draw(20, SIDE, seed=3, epoch=2)
    after = augmentation.after(before.clone(), draws)
    for image, result, (row, column) in zip(before, after, draws["cutout"].tolist(), strict=True):
        top, left = row - size // 2, column - size // 2
        expected = image.clone()
        square = (slice(max(top, 0), top + size), slice(max(left, 0), left + size))
        for channel in range(3):
            expected[channel][square] = 2 * mean[channel] - 1
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-7)


def test_noise_has_its_deviation_for_pixels_in_0_to_1_and_is_clipped() -> None:
    augmentation = Augmentation(["gaussian_noise:0.1"], flip=True)
    images = torch.zeros(50, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    pixels = (augmentation.after(images, augmentation.draw(50, SIDE, 0, 1)) + 1) / 2
    assert pixels.std().item() == pytest.approx(0.1, rel=0.03)
    assert pixels.mean().item() == pytest.approx(0.5, abs=0.005)
    strong = Augmentation(["gaussian_noise:1"], flip=True)
    clipped = strong.after(torch.zeros(50, 3, SIDE, SIDE), strong.draw(50, SIDE, 0, 1))
    assert (clipped.min().item(), clipped.max().item()) == (-1, 1)


def test_the_noise_of_images_and_of_their_pixels_is_normal_and_independent() -> None:
    count, values = 400, 3 * SIDE * SIDE
    augmentation = Augmentation(["gaussian_noise:0.05"], flip=True)
    images = torch.zeros(count, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    noise = augmentation.after(images, augmentation.draw(count, SIDE, 0, 1)).flatten(1) / 0.1
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    of_images, of_pixels = torch.corrcoef(noise), torch.corrcoef(noise.T)
    for correlations, observations in ((of_images, values), (of_pixels, count)):
        between = correlations[~torch.eye(len(correlations), dtype=torch.bool)]
        # a correlation of independent values has a standard deviation of 1 / √observations
        assert between.std().item() == pytest.approx(observations**-0.5, rel=0.02)
        assert between.abs().max().item() < 6 * observations**-0.5


def test_auto_mirrors_if_labels_allow_it() -> None:
    assert "flip" in Augmentation(["auto"], flip=True).draw(4, SIDE, 0, 1)
    assert Augmentation(["auto"], flip=False).draw(4, SIDE, 0, 1) == {}
    assert Augmentation([], flip=True).draw(4, SIDE, 0, 1) == {}


def test_all_changes_together_keep_shape_range_and_layout() -> None:
    images = epoch_of(data_of(70), *ALL)
    assert images.shape == (70, 3, SIDE, SIDE)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


def test_draws_depend_on_seed_and_epoch_only() -> None:
    data = data_of(70)
    first = epoch_of(data, *ALL)
    torch.manual_seed(123)
    assert torch.equal(epoch_of(data, *ALL), first)
    assert not torch.equal(epoch_of(data, *ALL, seed=1), first)
    assert not torch.equal(epoch_of(data, *ALL, epoch=2), first)


def test_what_is_drawn_for_an_image_does_not_depend_on_the_batch_size_or_other_changes() -> None:
    data = data_of(70)
    changed = epoch_of(data, *ALL)
    assert torch.equal(epoch_of(data, *reversed(ALL), size=7), changed)
    without = Augmentation(["crop:3"], flip=True).draw(70, SIDE, 0, 1)["crop"]
    assert torch.equal(Augmentation(ALL, flip=True).draw(70, SIDE, 0, 1)["crop"], without)


def test_the_training_images_do_not_change() -> None:
    data = data_of(40)
    epoch_of(data, *ALL)
    assert torch.equal(data.train_images, images_of(40))


def test_a_part_of_the_images_is_an_epoch_of_that_part() -> None:
    data, part = data_of(50), torch.arange(0, 50, 3)
    augmentation = Augmentation([], flip=True)
    labels = torch.cat([found for _, found in batches(data, 8, 0, 1, augmentation, part)])
    assert sorted(labels.tolist()) == part.tolist()
