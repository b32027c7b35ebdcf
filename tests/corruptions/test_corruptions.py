"""Corruptions: the same images for every trial, of any size; names and suites; wrong input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actbench.corruptions.corrupt import corrupt, images_per_chunk
from actbench.corruptions.registry import CORRUPTIONS
from actbench.corruptions.specs import SUITES, expand, resolve
from actbench.errors import UsageError
from actbench.study.levels import SEVERITIES
from actbench.study.study import seed_for
from helpers.corrupted_images import DRAWN, NOISES, natural_images
from helpers.corruptions_reference import REFERENCE


def random_images(count: int, height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", [*NOISES, *DRAWN])
def test_every_image_has_its_own_draws(name: str, severity: int) -> None:
    image = natural_images(1, seed=5)
    corrupted = corrupt(torch.tensor(image).expand(4, -1, -1, -1), name, severity)
    # Two of them may agree: short motion blurs have few paths of integer pixels.
    assert len(corrupted.unique(dim=0)) > 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corrupting_is_a_pure_function_of_images_name_and_severity(name: str) -> None:
    images = random_images(20)
    before = images.clone()
    first = corrupt(images, name, 3)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(corrupt(images, name, 3), first)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_draws_from_the_generator_it_is_given_and_stays_in_range(name: str) -> None:
    images = random_images(4).permute(0, 3, 1, 2).float() / 255
    before = images.clone()
    for severity in SEVERITIES:
        corrupted, again = (
            resolve(name, severity).apply(images, torch.Generator().manual_seed(7))
            for _ in range(2)
        )
        assert torch.equal(corrupted, again)
        assert corrupted.shape == images.shape
        assert corrupted.dtype == torch.float32
        assert corrupted.min() >= 0
        assert corrupted.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "size",
    [
        *((8, 8), (45, 33), (97, 97)),
        *(pytest.param(size, marks=pytest.mark.slow) for size in ((28, 28), (47, 48), (256, 129))),
    ],
)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_of_other_sizes_are_corrupted(name: str, size: tuple[int, int]) -> None:
    images = random_images(1, *size)
    for severity in SEVERITIES:
        corrupted = corrupt(images, name, severity)
        assert corrupted.shape == images.shape
        assert corrupted.dtype == torch.uint8


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_flat_grey_image_is_corrupted(name: str, level: int) -> None:
    images = torch.full((1, 3, 32, 32), level / 255)
    for severity in SEVERITIES:
        corrupted = resolve(name, severity).apply(images, torch.Generator().manual_seed(0))
        assert corrupted.isfinite().all()


def test_complete_chunks_of_a_set_do_not_depend_on_what_follows() -> None:
    size = images_per_chunk(32, 32)
    images = random_images(size + 7)
    whole = corrupt(images, "gaussian_noise", 2)
    prefix = corrupt(images[:size], "gaussian_noise", 2)
    assert torch.equal(whole[:size], prefix)
    assert not torch.equal(whole[size:], whole[:7])


def test_a_chunk_has_the_same_number_of_pixels_at_every_size() -> None:
    assert images_per_chunk(32, 32) == 500
    assert images_per_chunk(256, 256) == 7
    assert images_per_chunk(2000, 2000) == 1


def test_the_generator_is_seeded_by_name_and_severity() -> None:
    images = random_images(3)
    seed = seed_for("corruption", "speckle_noise", 4)
    clean = images.permute(0, 3, 1, 2).float() / 255
    expected = resolve("speckle_noise", 4).apply(clean, torch.Generator().manual_seed(seed))
    expected = (expected * 255).byte().permute(0, 2, 3, 1)
    assert torch.equal(corrupt(images, "speckle_noise", 4), expected)


def test_expand_keeps_first_mention_order_and_drops_duplicates() -> None:
    assert expand(["speckle_noise", "noise", "gaussian_noise"]) == (
        "speckle_noise",
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
    )
    assert expand(("none",)) == ()


def test_every_suite_expands_to_known_corruptions() -> None:
    for suite, names in SUITES.items():
        assert expand([suite]) == names
        assert set(names) <= CORRUPTIONS.keys()
    assert set(SUITES["all"]) == CORRUPTIONS.keys() == REFERENCE.keys()
    assert set(SUITES["cifar10c"]) == CORRUPTIONS.keys() - set(SUITES["extra"])
    assert len(SUITES["cifar10c"]) == 14  # the usual fifteen without frost


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gausian_noise"], "unknown corruption 'gausian_noise'; did you mean 'gaussian_noise'?"),
        (["nosie"], "unknown corruption 'nosie'; did you mean 'noise'?"),
        (["frost"], "published CIFAR-10-C files"),
        (["none", "noise"], "'none' beside other names"),
    ],
)
def test_expand_refuses_wrong_names_in_one_line(names: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        expand(names)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "name", "severity", "message"),
    [
        (random_images(1), "fogg", 1, "unknown corruption"),
        (random_images(1), "gaussian_noise", 0, "severity is 0"),
        (random_images(1).float(), "gaussian_noise", 1, "torch.float32"),
        (random_images(1)[..., :1], "gaussian_noise", 1, "(1, 32, 32, 1)"),
        (random_images(1)[:0], "gaussian_noise", 1, "(0, 32, 32, 3)"),
        (random_images(1, 32, 7), "gaussian_noise", 1, "32×7"),
    ],
)
def test_corrupt_refuses_wrong_input_in_one_line(
    images: torch.Tensor, name: str, severity: int, message: str
) -> None:
    with pytest.raises(UsageError) as error:
        corrupt(images, name, severity)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
