"""Name × severity → corrupted images; suites of corruptions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from actbench.corruptions.blur import (
    defocus_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from actbench.corruptions.digital import (
    brightness,
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)
from actbench.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from actbench.corruptions.weather import fog, snow, spatter
from actbench.errors import UsageError
from actbench.study.levels import SEVERITIES
from actbench.study.registry import Registry, documented
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Sequence

Corruption = Callable[[Tensor, int, Generator], Tensor]
MIN_SIDE = 8
IMAGES_PER_CHUNK = 500  # float32 at 32×32: 6 MB an operand, which stays near the caches
CORRUPTIONS: Registry[Corruption] = Registry(
    "corruption",
    gaussian_noise=documented(gaussian_noise),
    shot_noise=documented(shot_noise),
    impulse_noise=documented(impulse_noise),
    speckle_noise=documented(speckle_noise),
    gaussian_blur=documented(gaussian_blur),
    glass_blur=documented(glass_blur),
    defocus_blur=documented(defocus_blur),
    motion_blur=documented(motion_blur),
    zoom_blur=documented(zoom_blur),
    fog=documented(fog),
    snow=documented(snow),
    spatter=documented(spatter),
    contrast=documented(contrast),
    brightness=documented(brightness),
    saturate=documented(saturate),
    jpeg_compression=documented(jpeg_compression),
    pixelate=documented(pixelate),
    elastic_transform=documented(elastic_transform),
)
_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SUITES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "cifar10c": tuple(name for name in CORRUPTIONS if name not in _EXTRA),
    "extra": _EXTRA,
    "all": tuple(CORRUPTIONS),
}


def expand(names: Sequence[str], *, published: bool = False) -> tuple[str, ...]:
    """Return the corruptions that names and suites refer to, in order of first mention, each once.

    ``("none",)`` means no corruption. With ``published`` files, frost is available too: by name and
    in the suites ``cifar10c`` and ``all``, after snow.

    Raises:
        UsageError: a name is unknown or not available, or ``none`` is given with others.
    """
    if "none" in names:
        if set(names) != {"none"}:
            raise UsageError("corruptions has 'none' beside other names; give one or the other")
        return ()
    known = {**{name: (name,) for name in CORRUPTIONS}, **SUITES}
    if published:
        known["frost"] = ("frost",)
        for suite in ("cifar10c", "all"):
            after = known[suite].index("snow") + 1
            known[suite] = (*known[suite][:after], "frost", *known[suite][after:])
    expanded: dict[str, None] = {}
    for name in names:
        if name not in known:
            if name == "frost":
                raise UsageError(
                    "the corruption 'frost' needs photographs of frost, so it is only available "
                    "from the published CIFAR-10-C files: give their folder with --cifar10c"
                )
            raise CORRUPTIONS.unknown(name, [*(known.keys() - CORRUPTIONS.keys()), "none"])
        expanded.update(dict.fromkeys(known[name]))
    return tuple(expanded)


def corrupt(images: Tensor, name: str, severity: int) -> Tensor:
    """Return a set of images under one corruption, the same bytes every time.

    The result depends on the images and their order, the name and the severity only. The images
    are corrupted 500 at a time, and values are cut, not rounded, to 8 bits, as in the original. If
    k is a multiple of 500, the first k results depend on the first k images only.

    Args:
        images: uint8 of shape (N, H, W, 3) on the CPU, N ≥ 1, H and W ≥ 8.
        name: a key of ``CORRUPTIONS``.
        severity: from 1 to 5.

    Returns:
        uint8 of shape (N, H, W, 3).

    Raises:
        UsageError: an argument is not as described.
    """
    corruption = CORRUPTIONS[name].target
    if severity not in SEVERITIES:
        raise UsageError(f"severity is {severity!r}; it must be an integer from 1 to 5")
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] < 1 or shape[3] != 3:
        raise UsageError(
            f"images to corrupt are {images.dtype} of shape {shape}; "
            "they must be uint8 of shape (N, H, W, 3) with N ≥ 1"
        )
    if min(shape[1:3]) < MIN_SIDE:
        raise UsageError(
            f"images to corrupt are {shape[1]}×{shape[2]}; "
            f"they must be at least {MIN_SIDE}×{MIN_SIDE}"
        )
    generator = torch.Generator().manual_seed(seed_for("corruption", name, severity))
    corrupted = torch.empty_like(images, memory_format=torch.contiguous_format)
    for start in range(0, len(images), IMAGES_PER_CHUNK):
        chunk = images[start : start + IMAGES_PER_CHUNK]
        clean = chunk.permute(0, 3, 1, 2).contiguous().float().div_(255)
        result = corruption(clean, severity, generator)
        corrupted[start : start + IMAGES_PER_CHUNK] = (
            (result * 255).to(torch.uint8).permute(0, 2, 3, 1)
        )
    return corrupted
