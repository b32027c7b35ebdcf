"""Corruptions agree with their published definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import stats

from actbench.corruptions.corrupt import corrupt
from actbench.study.levels import SEVERITIES
from helpers.corrupted_images import (
    DETERMINISTIC,
    DRAWN,
    NOISES,
    corrupt_with,
    mean_squared_change,
    natural_images,
    reference_images,
)
from helpers.corruptions_reference import REFERENCE
from helpers.pixels_reference import smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICKLY = {32: SEVERITIES, 64: (1, 3, 5), 224: (3,)}
# and how many images, and each severity: the reference takes long for large ones
SIZES = [
    pytest.param(size, count, severity, marks=() if severity in QUICKLY[size] else pytest.mark.slow)
    for size, count in ((32, 10), (64, 3), (224, 1))
    for severity in SEVERITIES
]
NOISE_CONSTANTS = {
    ("gaussian_noise", 32): (0.04, 0.06, 0.08, 0.09, 0.10),
    ("gaussian_noise", 64): (0.04, 0.08, 0.12, 0.15, 0.18),
    ("gaussian_noise", 224): (0.08, 0.12, 0.18, 0.26, 0.38),
    ("shot_noise", 32): (500, 250, 100, 75, 50),
    ("shot_noise", 64): (250, 100, 50, 30, 15),
    ("shot_noise", 224): (60, 25, 12, 5, 3),
    ("impulse_noise", 32): (0.01, 0.02, 0.03, 0.05, 0.07),
    ("impulse_noise", 64): (0.01, 0.02, 0.05, 0.08, 0.14),
    ("impulse_noise", 224): (0.03, 0.06, 0.09, 0.17, 0.27),
    ("speckle_noise", 32): (0.06, 0.1, 0.12, 0.16, 0.2),
    ("speckle_noise", 64): (0.15, 0.2, 0.25, 0.3, 0.35),
    ("speckle_noise", 224): (0.15, 0.2, 0.35, 0.45, 0.6),
}


def noise_distribution(name: str, size: int, severity: int, level: int) -> np.ndarray:
    """Return the probability of each 8-bit level (cut, not rounded) that the noise turns one into.

    float64 of shape (256,), from the closed form of the definition.
    """
    x = level / 255
    constant = NOISE_CONSTANTS[name, size][severity - 1]
    if name == "impulse_noise":
        probabilities = np.zeros(256)
        probabilities[[0, level, 255]] = constant / 2, 1 - constant, constant / 2
        return probabilities
    if name == "shot_noise":
        counts = np.arange(4 * constant + 40)
        levels = np.clip(counts / constant, 0, 1) * 255
        weights = stats.poisson.pmf(counts, constant * x)
        return np.bincount(levels.astype(int), weights, minlength=256)
    sigma = constant * x if name == "speckle_noise" else constant
    reached = stats.norm.cdf(np.arange(1, 256) / 255, loc=x, scale=sigma)
    return np.diff(reached, prepend=0, append=1)


@pytest.mark.parametrize("level", [40, 128])
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(("size", "count"), [(32, 100), (64, 25), (224, 2)])
@pytest.mark.parametrize("name", NOISES)
def test_noise_on_flat_grey_has_the_mean_and_deviation_of_its_closed_form(
    name: str, size: int, count: int, severity: int, level: int
) -> None:
    grey = torch.full((count, size, size, 3), level, dtype=torch.uint8)
    added = corrupt(grey, name, severity).double().numpy() - level

    changes = np.arange(256) - level
    probabilities = noise_distribution(name, size, severity, level)
    mean = probabilities @ changes
    variance = probabilities @ (changes - mean) ** 2
    fourth_moment = probabilities @ (changes - mean) ** 4
    # Five standard errors of each estimate; a draw outside them has probability 6e-7.
    assert abs(added.mean() - mean) < 5 * np.sqrt(variance / added.size)
    assert abs(added.var() - variance) < 5 * np.sqrt((fourth_moment - variance**2) / added.size)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", NOISES)
def test_noise_is_drawn_for_every_pixel_and_channel(name: str, severity: int) -> None:
    grey = torch.full((100, 32, 32, 3), 128, dtype=torch.uint8)
    added = corrupt(grey, name, severity).double() - 128
    for axis in range(4):
        neighbours = torch.stack([added.flatten(), added.roll(1, axis).flatten()])
        assert abs(torch.corrcoef(neighbours)[0, 1]) < 0.01


# The largest share of values that may be one level off the reference. None may be further off:
# float32 and float64 fall on different sides of an integer level, which happens most where the
# definition gives integer levels, such as 1.5 times a saturation. Rounding where the original cuts
# would change half of all values.
ONE_LEVEL_OFF = {
    "gaussian_blur": 0.001,
    "glass_blur": 0.01,
    "defocus_blur": 0.06,
    "motion_blur": 0.001,
    "zoom_blur": 0.001,
    "fog": 0.001,
    "snow": 0.001,
    "spatter": 0.001,
    "contrast": 0.001,
    "brightness": 0.08,
    "saturate": 0.13,
    "jpeg_compression": 0,
    "pixelate": 0,
    "elastic_transform": 0.001,
}


def assert_same_images(
    name: str,
    corrupted: NDArray[np.uint8],
    expected: NDArray[np.uint8],
    images: NDArray[np.uint8],
) -> None:
    share, change = ONE_LEVEL_OFF[name], 0.002
    if name == "saturate" and images.shape[1] >= 48:
        # the factor 2 gives integer levels twice as often as 1.5 does
        share, change = 0.26, 0.006
    off = np.abs(corrupted.astype(int) - expected)
    assert off.max() <= 1
    assert (off == 1).mean() <= share
    assert mean_squared_change(corrupted, images) == pytest.approx(
        mean_squared_change(expected, images), rel=change
    )


@pytest.mark.parametrize(("size", "count", "severity"), SIZES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_corruptions_without_draws_agree_with_the_reference(
    name: str, size: int, count: int, severity: int
) -> None:
    images = natural_images(count, seed=1, size=size)
    expected = reference_images(name, images, severity, seeds=range(count))
    corrupted = corrupt(torch.tensor(images), name, severity).numpy()
    assert_same_images(name, corrupted, expected, images)


@pytest.mark.parametrize(("size", "count", "severity"), SIZES)
@pytest.mark.parametrize("name", DRAWN)
def test_corruptions_with_draws_agree_with_the_reference_on_the_same_draws(
    name: str, size: int, count: int, severity: int
) -> None:
    images = natural_images(count, seed=2, size=size)
    seeds = range(1, count + 1)
    expected = reference_images(name, images, severity, seeds=seeds)
    singly = [corrupt_with(name, images[[i]], severity, seed) for i, seed in enumerate(seeds)]
    corrupted = np.concatenate(singly)
    assert_same_images(name, corrupted, expected, images)


def test_spatter_wraps_above_255_as_the_originals_conversion_to_uint8_does() -> None:
    """At severity 3 about one image in seven has liquid above 1, which clamping would change."""
    wrapping = []
    for seed in range(60):
        noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(seed)) * 0.3 + 0.65
        if smoothed(noise.numpy(), 1).max() > 1.001:
            wrapping.append(seed)
    assert len(wrapping) >= 5
    images = natural_images(60, seed=2)
    for seed in wrapping:
        expected = reference_images("spatter", images[[seed]], 3, seeds=range(seed, seed + 1))
        ours = corrupt_with("spatter", images[[seed]], 3, seed)
        assert np.abs(ours.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "severity", [*(pytest.param(severity, marks=pytest.mark.slow) for severity in (1, 2, 3, 4)), 5]
)
@pytest.mark.parametrize("name", NOISES)
def test_noise_changes_images_as_much_as_the_reference(name: str, severity: int) -> None:
    # With this many images, 2 % is three standard errors for the rarest noise, impulses at
    # severity 1, and more than ten for the others.
    images = natural_images(2000, seed=3)
    expected = reference_images(name, images, severity, seeds=range(2000))
    corrupted = corrupt(torch.tensor(images), name, severity).numpy()
    assert mean_squared_change(corrupted, images) == pytest.approx(
        mean_squared_change(expected, images), rel=0.02
    )


@pytest.mark.parametrize("name", ["motion_blur", "spatter"])
def test_images_of_a_batch_do_not_affect_each_other(name: str) -> None:
    # These draw once, image by image, so that a generator can be shared by images done singly.
    images = natural_images(6, seed=4)
    for severity in SEVERITIES:
        generator = torch.Generator().manual_seed(9)
        singly = np.stack([REFERENCE[name](image, severity, generator) for image in images])
        together = corrupt_with(name, images, severity, seed=9)
        assert_same_images(name, together, singly, images)


@pytest.mark.parametrize(
    "name",
    [
        *NOISES,
        "gaussian_blur",
        "defocus_blur",
        "zoom_blur",
        "fog",
        "contrast",
        "brightness",
        "jpeg_compression",
        "pixelate",
    ],
)
def test_the_change_grows_with_severity_if_the_definition_makes_it_grow(name: str) -> None:
    images = natural_images(200, seed=6)
    changes = [
        mean_squared_change(corrupt(torch.tensor(images), name, severity).numpy(), images)
        for severity in SEVERITIES
    ]
    assert changes == sorted(changes)
