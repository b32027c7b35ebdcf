"""Opening a data set of 60,000 image files, and an epoch of its batches without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actbench.data.augmentation import Augmentation
from actbench.data.batches import batches
from actbench.data.images import open_images, prepare
from cifar_shaped import BATCH_SIZE, TEST_IMAGES, TRAIN_IMAGES, write_image_folder
from contenders import synthetic_data

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from actbench.data.images import ImageData


@pytest.fixture(scope="module")
def data() -> ImageData:
    """Return the synthetic training set at full size."""
    return synthetic_data(test_images=1)


@pytest.mark.parametrize("augment", ["none", "flip", "flip,crop:4", "flip,crop:4,cutout:8"])
def test_epoch_of_batches(benchmark: BenchmarkFixture, data: ImageData, augment: str) -> None:
    """Gather, augment and normalise 50,000 images."""
    changes = () if augment == "none" else augment.split(",")
    augmentation = Augmentation(changes, flip=True)

    def walk() -> None:
        for _ in batches(data, BATCH_SIZE, 0, 1, augmentation):
            pass

    benchmark.pedantic(walk, rounds=5, warmup_rounds=1)


def test_start_on_an_image_folder(
    benchmark: BenchmarkFixture, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every start after the first; the first decodes each image."""
    folder = tmp_path_factory.mktemp("images")
    write_image_folder(folder, TRAIN_IMAGES, TEST_IMAGES)
    prepare("imagefolder", str(folder))
    benchmark.pedantic(lambda: open_images(prepare("imagefolder", str(folder))), rounds=5)
