"""Levels of the user's own: what a spec computes, its one spelling, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actbench.api.measuring import measure
from actbench.corruptions.constants import PUBLISHED_SIDES, Constant, published_side
from actbench.corruptions.corrupt import corrupt
from actbench.corruptions.registry import CORRUPTIONS
from actbench.corruptions.specs import canonical, expand, resolve
from actbench.errors import UsageError
from actbench.study.levels import level_labels, severities
from actbench.study.specs import value_text
from helpers.corrupted_images import natural_images


def images_of(size: int) -> torch.Tensor:
    return torch.tensor(natural_images(2, seed=1, size=size))


@pytest.mark.parametrize("size", [28, 32, 64, 128])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_published_constants_given_as_levels_give_the_published_severities(
    name: str, size: int
) -> None:
    parameters = CORRUPTIONS[name].parameters
    side = published_side(size, size)
    for severity in (1, 5):
        values = {
            key: value_text(constant.at(severity, side))
            for key, constant in parameters.items()
            if isinstance(constant, Constant)
        }
        assert values.keys() == parameters.keys()
        spec = f"{name}:{','.join(f'{key}={value}' for key, value in values.items())}"
        clean = images_of(size).permute(0, 3, 1, 2).float() / 255
        published, given = (
            resolve(text, level).apply(clean, torch.Generator().manual_seed(3))
            for text, level in ((name, severity), (spec, 1))
        )
        assert torch.equal(given, published)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("name", ["fog", "snow", "spatter", "defocus_blur"])
def test_a_constant_that_is_not_given_has_its_value_of_severity_3(name: str, size: int) -> None:
    main, constant = next(iter(CORRUPTIONS[name].parameters.items()))
    assert isinstance(constant, Constant)
    value = value_text(constant.at(3, published_side(size, size)))
    clean = images_of(size).permute(0, 3, 1, 2).float() / 255
    third, given = (
        resolve(text, level).apply(clean, torch.Generator().manual_seed(3))
        for text, level in ((name, 3), (f"{name}:{main}={value}", 1))
    )
    assert torch.equal(given, third)


def test_a_level_of_noise_has_the_deviation_asked_for() -> None:
    grey = torch.full((50, 32, 32, 3), 128, dtype=torch.uint8)
    for severity, sigma in enumerate((0.02, 0.05, 0.1), start=1):
        changed = corrupt(grey, "gaussian_noise:sigma=0.02/0.05/0.1", severity).double() / 255
        # 153,600 values: the standard error of a deviation is 0.2 % of it; 8-bit levels add 0.001
        assert float(changed.std()) == pytest.approx(np.hypot(sigma, 1 / 255 / 12**0.5), rel=0.01)


def test_the_draws_of_a_level_do_not_depend_on_the_others() -> None:
    images = images_of(32)
    alone = corrupt(images, "gaussian_noise:sigma=0.1", 1)
    assert torch.equal(alone, corrupt(images, "gaussian_noise:sigma=0.4/0.1", 2))
    assert torch.equal(alone, corrupt(images, "gaussian_noise:0.1/0.2", 1))
    keys = {resolve("gaussian_noise:0.1/0.2", level).key for level in (1, 2)}
    assert keys == {"gaussian_noise sigma=0.1", "gaussian_noise sigma=0.2"}
    assert len({resolve(f"gaussian_noise:{sigma}", 1).seed for sigma in (0.1, 0.2, 1)}) == 3


@pytest.mark.parametrize(
    ("text", "spelling", "count"),
    [
        ("fog", "fog", 5),
        ("gaussian_noise:0.1/.2/4e-1", "gaussian_noise:sigma=0.1/0.2/0.4", 3),
        ("jpeg_compression:quality=90/50/10", "jpeg_compression:quality=90/50/10", 3),
        (" fog:strength=1/2, decay=3 ", "fog:decay=3,strength=1/2", 2),
        ("fog:strength=1/2,decay=3/3.0", "fog:decay=3,strength=1/2", 2),
        ("spatter:mud=true/false", "spatter:mud=true/false", 2),
        ("shot_noise:60.0", "shot_noise:rate=60", 1),
    ],
)
def test_a_spec_has_one_spelling(text: str, spelling: str, count: int) -> None:
    assert canonical(text) == spelling
    assert canonical(spelling) == spelling
    assert len(severities(spelling)) == len(level_labels(spelling)) == count
    resolve(spelling, count)
    with pytest.raises(UsageError, match=f"must be an integer from 1 to {count}"):
        resolve(spelling, count + 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian_noise:sigma=-1", "sigma is -1.0; it must be a number from 0 to 10"),
        ("gaussian_noise:sigma=0.1/x", "sigma is 'x'; it must be a number"),
        ("gaussian_noise:sigma=0.1/", "sigma is ''; it must be a number"),
        ("gaussian_noise:sigma=nan", "sigma is nan; it must be finite"),
        ("gaussian_noise:sigma=0.1/0.10", "has the level sigma = 0.1 twice"),
        ("gaussian_noise:sima=0.1", "has no parameter 'sima'; did you mean 'sigma'?"),
        ("gaussian_noise:sigma=0.1,sigma=0.2", "sets 'sigma' twice"),
        ("jpeg_compression:quality=90.5", "quality is 90.5; it must be an integer"),
        ("jpeg_compression:quality=0", "quality is 0; it must be an integer from 1 to 100"),
        ("spatter:mud=1", "mud is 1; it must be true or false"),
        ("fog:strength=1/2/3,decay=2/3", "decay has 2 levels and strength 3; give as many for"),
        ("gaussian_noise:" + "/".join(map(str, range(101))), "has 101 levels; it must have at"),
        ("gausian_noise:sigma=1", "unknown corruption 'gausian_noise'; did you mean"),
        ("noise:0.1", "unknown corruption 'noise'"),
    ],
)
def test_a_wrong_level_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        expand([text])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_corruption_may_be_repeated_with_other_levels_only() -> None:
    names = ["gaussian_noise:0.1", "noise", "gaussian_noise:0.1/0.2"]
    assert expand(names)[:2] == ("gaussian_noise:sigma=0.1", "gaussian_noise")
    assert expand(names)[-1] == "gaussian_noise:sigma=0.1/0.2"
    with pytest.raises(UsageError, match=r"names 'gaussian_noise:sigma=0\.1' twice"):
        expand(["gaussian_noise:0.1", "gaussian_noise:sigma=0.10"])


@pytest.mark.parametrize("extreme", ["low", "high"])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_ends_of_every_range_give_images(name: str, extreme: str) -> None:
    ends = {
        "sigma": (0.1 if name == "motion_blur" else 0, 2),
        "rate": (0.01, 10_000),
        "share": (0, 1),
        "shift": (1, 50) if name == "glass_blur" else (0, 1),
        "rounds": (1, 20),
        "radius": (1, 50),
        "alias_blur": (0.01, 10),
        "largest": (1.001, 3),
        "step": (0.01, 1),
        "strength": (0, 10),
        "decay": (1, 10),
        "mean": (-10, 10),
        "zoom": (1, 10),
        "threshold": (0, 1),
        "smear_sigma": (0.1, 100),
        "kept": (0, 1),
        "smoothing": (0, 50),
        "mud": ("true", "false"),
        "factor": (0, 10),
        "added": (-1, 1),
        "quality": (1, 100),
        "scale": (0.001, 1),
        "alpha": (0, 10),
    }
    for key in CORRUPTIONS[name].parameters:
        spec = f"{name}:{key}={ends[key][extreme == 'high']}"
        for size in (8, 28):
            clean = images_of(size).permute(0, 3, 1, 2).float() / 255
            found = resolve(spec, 1).apply(clean, torch.Generator().manual_seed(0))
            assert found.shape == clean.shape
            assert 0 <= float(found.min()) <= float(found.max()) <= 1  # and none is NaN


def test_sizes_between_the_published_ones_have_the_constants_of_the_nearest_below() -> None:
    sides = {28: 32, 47: 32, 48: 64, 127: 64, 128: 224, 256: 224}
    for size, side in sides.items():
        assert published_side(size, size) == published_side(size, 300) == side
    assert set(sides.values()) == set(PUBLISHED_SIDES)


def test_levels_of_any_classifier_are_named_too() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    specs = ["gaussian_noise:0.1/0.2", "fog"]
    found = measure(network, images_of(32), torch.tensor([0, 1]), corruptions=specs).corruptions
    assert list(found["level"]) == [
        "σ = 0.1",
        "σ = 0.2",
        *(f"severity {severity}" for severity in range(1, 6)),
    ]
