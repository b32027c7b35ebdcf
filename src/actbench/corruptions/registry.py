"""The corruptions by name, with their constants and ranges."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from actbench.corruptions import blur, digital, noise, weather
from actbench.corruptions.constants import Constant, constant
from actbench.study.fields import flag, integer, number
from actbench.study.registry import Entry, Registry, documented

Corruption = Callable[..., Tensor]  # of (images, generator, one keyword for each constant)

_DEVIATION = number(0, 10)
_PIXELS = number(0, 50)
_INTEGER_PIXELS = integer(1, high=50)


def _entry(function: Corruption, **constants: Constant) -> Entry[Corruption]:
    return documented(function, constants)


CORRUPTIONS: Registry[Corruption] = Registry(
    "corruption",
    importable=True,
    gaussian_noise=_entry(
        noise.gaussian_noise,
        sigma=constant(
            "standard deviation, for pixels in [0, 1]",
            _DEVIATION,
            (0.04, 0.06, 0.08, 0.09, 0.1),
            (0.04, 0.08, 0.12, 0.15, 0.18),
            (0.08, 0.12, 0.18, 0.26, 0.38),
        ),
    ),
    shot_noise=_entry(
        noise.shot_noise,
        rate=constant(
            "mean number of events λ of a white pixel; fewer are noisier",
            number(0.01, 10_000),
            (500.0, 250.0, 100.0, 75.0, 50.0),
            (250.0, 100.0, 50.0, 30.0, 15.0),
            (60.0, 25.0, 12.0, 5.0, 3.0),
        ),
    ),
    impulse_noise=_entry(
        noise.impulse_noise,
        share=constant(
            "share of values that are replaced",
            number(0, 1),
            (0.01, 0.02, 0.03, 0.05, 0.07),
            (0.01, 0.02, 0.05, 0.08, 0.14),
            (0.03, 0.06, 0.09, 0.17, 0.27),
        ),
    ),
    speckle_noise=_entry(
        noise.speckle_noise,
        sigma=constant(
            "standard deviation, relative to the value",
            _DEVIATION,
            (0.06, 0.1, 0.12, 0.16, 0.2),
            (0.15, 0.2, 0.25, 0.3, 0.35),
            (0.15, 0.2, 0.35, 0.45, 0.6),
        ),
    ),
    gaussian_blur=_entry(
        blur.gaussian_blur,
        sigma=constant(
            "standard deviation in pixels",
            _PIXELS,
            (0.4, 0.6, 0.7, 0.8, 1.0),
            (0.5, 0.75, 1.0, 1.25, 1.5),
            (1.0, 2.0, 3.0, 4.0, 6.0),
        ),
    ),
    glass_blur=_entry(
        blur.glass_blur,
        sigma=constant(
            "standard deviation of the smoothing, in pixels",
            _PIXELS,
            (0.05, 0.25, 0.4, 0.25, 0.4),
            (0.1, 0.5, 0.6, 0.7, 0.9),
            (0.7, 0.9, 1.0, 1.1, 1.5),
        ),
        shift=constant(
            "largest displacement in one round, in pixels",
            _INTEGER_PIXELS,
            (1, 1, 1, 1, 1),
            (1, 1, 1, 2, 2),
            (1, 2, 2, 3, 4),
        ),
        rounds=constant(
            "number of rounds",
            integer(1, high=20),
            (1, 1, 1, 2, 2),
            (1, 1, 2, 1, 2),
            (2, 1, 3, 2, 2),
        ),
    ),
    defocus_blur=_entry(
        blur.defocus_blur,
        radius=constant(
            "radius of the disk, in pixels",
            _PIXELS,
            (0.3, 0.4, 0.5, 1.0, 1.5),
            (0.5, 1.0, 1.5, 2.5, 3.0),
            (3.0, 4.0, 6.0, 8.0, 10.0),
        ),
        alias_blur=constant(
            "standard deviation that softens the rim, in pixels",
            number(0.01, 10),
            (0.4, 0.5, 0.6, 0.2, 0.1),
            (0.6, 0.1, 0.1, 0.01, 0.1),
            (0.1, 0.5, 0.5, 0.5, 0.5),
        ),
    ),
    motion_blur=_entry(
        blur.motion_blur,
        radius=constant(
            "half the length of the path, in pixels",
            _INTEGER_PIXELS,
            (6, 6, 6, 8, 9),
            (10, 10, 10, 10, 12),
            (10, 15, 15, 15, 20),
        ),
        sigma=constant(
            "standard deviation along the path, in pixels",
            number(0.1, 100),
            (1.0, 1.5, 2.0, 2.0, 2.5),
            (1.0, 1.5, 2.0, 2.5, 3.0),
            (3.0, 5.0, 8.0, 12.0, 15.0),
        ),
    ),
    zoom_blur=_entry(
        blur.zoom_blur,
        largest=constant(
            "end of the zoom factors, which begin at 1; it is excluded",
            number(1, 3, above=True),
            (1.06, 1.11, 1.16, 1.21, 1.26),
            None,
            (1.11, 1.16, 1.21, 1.26, 1.31),
        ),
        step=constant(
            "step between zoom factors",
            number(0.01, 1),
            (0.01, 0.01, 0.01, 0.01, 0.01),
            None,
            (0.01, 0.01, 0.02, 0.02, 0.03),
        ),
    ),
    fog=_entry(
        weather.fog,
        strength=constant(
            "brightness of the fog relative to white",
            number(0, 100),
            (0.2, 0.5, 0.75, 1.0, 1.5),
            (0.4, 0.7, 1.0, 1.5, 2.0),
            (1.5, 2.0, 2.5, 2.5, 3.0),
        ),
        decay=constant(
            "d: the noise amplitude is divided by d² each time the scale halves",
            number(1, 10),
            (3.0, 3.0, 2.5, 2.0, 1.75),
            None,
            (2.0, 2.0, 1.7, 1.5, 1.4),
        ),
    ),
    snow=_entry(
        weather.snow,
        mean=constant(
            "mean of the noise that flakes are made of",
            number(-10, 10),
            (0.1, 0.1, 0.15, 0.25, 0.3),
            None,
            (0.1, 0.2, 0.55, 0.55, 0.55),
        ),
        sigma=constant(
            "its standard deviation",
            _DEVIATION,
            (0.2, 0.2, 0.3, 0.3, 0.3),
            None,
            (0.3, 0.3, 0.3, 0.3, 0.3),
        ),
        zoom=constant(
            "its enlargement",
            number(1, 10),
            (1.0, 1.0, 1.75, 2.25, 1.25),
            None,
            (3.0, 2.0, 4.0, 4.5, 2.5),
        ),
        threshold=constant(
            "noise below it is no flake",
            number(0, 1),
            (0.6, 0.5, 0.55, 0.6, 0.65),
            None,
            (0.5, 0.5, 0.9, 0.85, 0.85),
        ),
        radius=constant(
            "half the length of a flake's path, in pixels",
            _INTEGER_PIXELS,
            (8, 10, 10, 12, 14),
            None,
            (10, 12, 12, 12, 12),
        ),
        smear_sigma=constant(
            "standard deviation along the path, in pixels",
            number(0.1, 100),
            (3.0, 4.0, 4.0, 6.0, 12.0),
            None,
            (4.0, 4.0, 8.0, 8.0, 12.0),
        ),
        kept=constant(
            "share of the image that is not whitened",
            number(0, 1),
            (0.95, 0.9, 0.9, 0.85, 0.8),
            (0.8, 0.8, 0.7, 0.65, 0.6),
            (0.8, 0.7, 0.7, 0.65, 0.55),
        ),
    ),
    spatter=_entry(
        weather.spatter,
        mean=constant(
            "mean of the noise that liquid is made of",
            number(-10, 10),
            (0.62, 0.65, 0.65, 0.65, 0.65),
            None,
            (0.65, 0.65, 0.65, 0.65, 0.67),
        ),
        sigma=constant(
            "its standard deviation",
            _DEVIATION,
            (0.1, 0.1, 0.3, 0.1, 0.1),
            None,
            (0.3, 0.3, 0.3, 0.3, 0.4),
        ),
        smoothing=constant(
            "standard deviation of its smoothing, in pixels",
            _PIXELS,
            (0.7, 0.8, 1.0, 0.7, 0.5),
            None,
            (4.0, 3.0, 2.0, 1.0, 1.0),
        ),
        threshold=constant(
            "noise below it is no liquid",
            number(0, 1),
            (0.7, 0.7, 0.69, 0.69, 0.68),
            (0.7, 0.7, 0.69, 0.68, 0.67),
            (0.69, 0.68, 0.68, 0.65, 0.65),
        ),
        strength=constant(
            "opacity of water; standard deviation of mud's rim, in pixels",
            number(0, 10),
            (0.5, 0.5, 0.5, 0.6, 0.6),
            (0.6, 0.6, 0.6, 0.6, 0.6),
            (0.6, 0.6, 0.5, 1.5, 1.5),
        ),
        mud=constant("mud instead of water", flag(), (False, False, False, True, True)),
    ),
    contrast=_entry(
        digital.contrast,
        factor=constant(
            "factor c of the contrast",
            number(0, 10),
            (0.75, 0.5, 0.4, 0.3, 0.15),
            (0.4, 0.3, 0.2, 0.1, 0.05),
        ),
    ),
    brightness=_entry(
        digital.brightness,
        added=constant(
            "what is added to the value, c",
            number(-1, 1),
            (0.05, 0.1, 0.15, 0.2, 0.3),
            (0.1, 0.2, 0.3, 0.4, 0.5),
        ),
    ),
    saturate=_entry(
        digital.saturate,
        factor=constant(
            "factor of the saturation",
            number(0, 100),
            (0.3, 0.1, 1.5, 2.0, 2.5),
            (0.3, 0.1, 2.0, 5.0, 30.0),
            (0.3, 0.1, 2.0, 5.0, 20.0),
        ),
        added=constant(
            "what is added to it, c",
            number(-1, 1),
            (0.0, 0.0, 0.0, 0.1, 0.2),
        ),
    ),
    jpeg_compression=_entry(
        digital.jpeg_compression,
        quality=constant(
            "quality",
            integer(1, high=100),
            (80, 65, 58, 50, 40),
            (65, 58, 50, 40, 25),
            (25, 18, 15, 10, 7),
        ),
    ),
    pixelate=_entry(
        digital.pixelate,
        scale=constant(
            "size of the small image relative to the image",
            number(0, 1, above=True),
            (0.95, 0.9, 0.85, 0.75, 0.65),
            (0.9, 0.8, 0.7, 0.6, 0.5),
            (0.6, 0.5, 0.4, 0.3, 0.25),
        ),
    ),
    elastic_transform=_entry(
        digital.elastic_transform,
        alpha=constant(
            "factor of the displacement, in sides",
            number(0, 10),
            (0.0, 0.05, 0.08, 0.1, 0.1),
            (0.0, 0.05, 0.1, 0.1, 0.16),
            (2.0, 2.0, 0.05, 0.07, 0.12),
        ),
        sigma=constant(
            "standard deviation of its smoothing, in sides",
            number(0, 2),
            (0.0, 0.2, 0.06, 0.04, 0.03),
            (0.0, 0.3, 0.08, 0.03, 0.03),
            (0.7, 0.08, 0.01, 0.01, 0.01),
        ),
        shift=constant(
            "largest move of the affine map's corners, in sides",
            number(0, 1),
            (0.08, 0.07, 0.06, 0.05, 0.03),
            (0.08, 0.06, 0.06, 0.03, 0.02),
            (0.1, 0.2, 0.02, 0.02, 0.02),
        ),
    ),
)
