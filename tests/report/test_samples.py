"""The first test image under every corruption, stored in one PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from actbench.report.samples import samples_from_png, samples_to_png
from actbench.study.levels import severities

NAMES = ("gaussian_noise:sigma=0.1/0.2", "fog", "jpeg_compression:quality=9/8/7/6/5/4/3")


@pytest.mark.parametrize("names", [NAMES, NAMES[:1], ("fog", "snow")])
@pytest.mark.parametrize("side", [28, 64])
def test_images_are_read_as_they_were_written(names: tuple[str, ...], side: int) -> None:
    draws = np.random.default_rng(0)
    samples = {
        (name, level): draws.integers(256, size=(side, side, 3), dtype=np.uint8)
        for name in names
        for level in (0, *severities(name))
    }
    found = samples_from_png(samples_to_png(samples), names)
    assert found.keys() == samples.keys()
    assert all(np.array_equal(found[key], samples[key]) for key in samples)
    with pytest.raises(ValueError, match="other corruptions"):
        samples_from_png(samples_to_png(samples), (*names, "contrast"))


def test_a_file_without_names_is_read_if_its_shape_fits() -> None:
    picture = np.random.default_rng(0).integers(256, size=(64, 192, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    found = samples_from_png(buffer.getvalue(), ("fog", "snow"))
    assert np.array_equal(found["snow", 5], picture[32:, 160:])
    with pytest.raises(ValueError, match="pixels for 1 corruptions"):
        samples_from_png(buffer.getvalue(), ("fog",))
