"""Image corruptions for 32×32 images: name × severity × generator → corrupted batch.

Names, formulas and constants are those of CIFAR-10-C: Hendrycks & Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (2019), with the CIFAR constants from
its ``make_cifar_c.py``. That script sets no seed, so its published files can be read but not made
again; here every draw comes from a generator that the caller hands in.

Every corruption takes float32 images of shape (N, 3, H, W) in [0, 1], a severity from 1 to 5 and a
``torch.Generator`` on the CPU, and returns new images of the same shape, dtype and range, not yet
quantised to 8 bits. Lengths among the constants are in pixels of a 32×32 image, and stay so for
other sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import special
from torch import Generator, Tensor

from actbench.blurs import defocus_blur, gaussian_blur, glass_blur, motion_blur, smooth, zoom_blur
from actbench.errors import UsageError, did_you_mean
from actbench.study import SEVERITIES, seed_for
from actbench.weather import fog, snow, spatter

if TYPE_CHECKING:
    from collections.abc import Sequence

Corruption = Callable[[Tensor, int, Generator], Tensor]

SMALLEST_SIDE = 8
IMAGES_PER_CHUNK = 500  # float32 at 32×32: 6 MB an operand, which stays near the caches


def gaussian_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x + N(0, σ²), drawn for every pixel and channel."""
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    noise = torch.randn(images.shape, generator=generator)
    return noise.mul_(sigma).add_(images).clamp_(0, 1)


def shot_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return Poisson(λx) / λ, drawn for every pixel and channel; x is rounded to 8 bits first."""
    rate = (500, 250, 100, 75, 50)[severity - 1]
    index = (images * 255).round_().to(torch.int32).mul_(_QUANTILES)
    index += torch.randint(_QUANTILES, images.shape, generator=generator, dtype=torch.int32)
    counts = _poisson_quantiles(rate).index_select(0, index.flatten()).view_as(images)
    return (counts / rate).clamp_(0, 1)


_QUANTILES = 2**16


@lru_cache(maxsize=1)  # one severity of a test set is made in many chunks; a table is 32 MiB
def _poisson_quantiles(rate: int) -> Tensor:
    """Return Poisson(rate · level / 255) at 65,536 even quantiles for each of the 256 levels.

    int16 of shape (256 · 65,536,), level by level. A uniform draw among a level's entries has the
    Poisson distribution with probabilities rounded to 2⁻¹⁶, in less than half the time of numpy's
    exact sampler and a quarter of that of ``torch.poisson``.
    """
    counts = np.arange(rate + 10 * int(np.sqrt(rate)), dtype=np.int16)
    means = np.arange(256) * (rate / 255)
    cumulative = np.rint(special.pdtr(counts, means[:, None]) * _QUANTILES).astype(np.int64)
    repeats = np.diff(cumulative, axis=1, prepend=0)
    repeats[:, -1] += _QUANTILES - cumulative[:, -1]
    return torch.from_numpy(np.repeat(np.tile(counts, 256), repeats.ravel()))


def impulse_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x with a share of its values, drawn per pixel and channel, at 0 or 1 equally often."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    draw = torch.rand(images.shape, generator=generator)
    salted = torch.where(draw < share / 2, 1.0, images)
    return salted.masked_fill_(draw > 1 - share / 2, 0.0)


def speckle_noise(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x + x · N(0, σ²), drawn for every pixel and channel."""
    sigma = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    noise = torch.randn(images.shape, generator=generator)
    return noise.mul_(sigma).add_(1).mul_(images).clamp_(0, 1)


def contrast(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return m + c · (x − m), with m the mean of each image's channel."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    # By numpy, whose order of summation does not depend on the number of threads.
    means = images.numpy().mean(axis=(2, 3), dtype=np.float64, keepdims=True)
    mean = torch.from_numpy(means.astype(np.float32))
    return ((images - mean) * kept + mean).clamp_(0, 1)


def brightness(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x with c added to its value in HSV, which multiplies the pixel's channels alike."""
    added = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + added).clamp_(max=1)
    return torch.where(value > 0, images * (brighter / value), brighter).clamp_(0, 1)


def saturate(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x with its saturation in HSV, s, replaced by factor · s + c; grey counts as red."""
    factor, added = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[severity - 1]
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    saturation = torch.where(chroma > 0, chroma / value, 0.0)
    wanted = (saturation * factor + added).clamp_(0, 1)
    # A channel lies below the value by a share of it, and the shares grow with the saturation.
    red_grey = torch.tensor([0.0, 1, 1]).view(3, 1, 1) * wanted
    share = torch.where(chroma > 0, (value - images) / chroma * wanted, red_grey)
    return (value - value * share).clamp_(0, 1)


def jpeg_compression(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x after a round trip through Pillow's JPEG; x is rounded to 8 bits first."""
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def compress(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        # The decoder alone takes half as long as Image.open, which also reads the file's header.
        return Image.frombytes("RGB", image.size, file.getvalue(), "jpeg", "RGB", "")

    return _through_pillow(images, compress)


def pixelate(images: Tensor, severity: int, _generator: Generator) -> Tensor:
    """Return x shrunk and enlarged again by Pillow's box filter; x is rounded to 8 bits first."""
    scale = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    height, width = images.shape[-2:]
    small = int(width * scale), int(height * scale)
    box = Image.Resampling.BOX
    return _through_pillow(images, lambda image: image.resize(small, box).resize(image.size, box))


def _through_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    pixels = (images * 255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in pixels])
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous().float().div_(255)


def elastic_transform(images: Tensor, severity: int, generator: Generator) -> Tensor:
    """Return x sheared by an affine map and then locally displaced, each with linear interpolation.

    The affine map moves three corners of a square around the middle by up to ±shift along each
    axis. The displacement is uniform noise in ±1, smoothed by a Gaussian of standard deviation σ
    cut at 3σ, times α. The constants are in units of 32 pixels. Beyond the edge the image is
    mirrored, the first time without and the second time with the edge pixel repeated.
    """
    alpha, sigma, shift = (
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    )[severity - 1]
    count, _, height, width = images.shape
    middle = np.array([width // 2, height // 2])
    corners = middle + min(height, width) // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moves = (torch.rand(count, 3, 2, generator=generator) * 2 - 1) * (32 * shift)
    moved = np.concatenate([corners + moves.double().numpy(), np.ones((count, 3, 1))], axis=2)
    # Each pixel of the result is fetched from where the inverse map, moved to unmoved, sends it.
    inverse = torch.from_numpy(np.linalg.solve(moved, corners.astype(np.float64))).float()

    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).float()
    sheared_grid = (
        grid[..., :1] * inverse[:, None, None, 0]
        + grid[..., 1:] * inverse[:, None, None, 1]
        + inverse[:, None, None, 2]
    )
    sheared = _sample(images, sheared_grid, edge_repeats=False)
    noise = torch.rand(count, 2, height, width, generator=generator) * 2 - 1
    displacement = smooth(noise, 32 * sigma, mode="reflect", truncate=3) * (32 * alpha)
    return _sample(sheared, grid + displacement.permute(0, 2, 3, 1), edge_repeats=True).clamp_(0, 1)


def _sample(images: Tensor, positions: Tensor, *, edge_repeats: bool) -> Tensor:
    """Return images (N, C, H, W) interpolated linearly at (column, row) positions (N, H, W, 2).

    Beyond the edge the image is mirrored, about its outer pixels' outer sides where the edge
    repeats and about their middles where not.
    """
    size = torch.tensor([images.shape[3], images.shape[2]], dtype=torch.float32)
    scaled = (positions + 0.5) / size if edge_repeats else positions / (size - 1)
    return F.grid_sample(
        images, scaled * 2 - 1, padding_mode="reflection", align_corners=not edge_repeats
    )


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "glass_blur": glass_blur,
    "defocus_blur": defocus_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "fog": fog,
    "snow": snow,
    "spatter": spatter,
    "contrast": contrast,
    "brightness": brightness,
    "saturate": saturate,
    "jpeg_compression": jpeg_compression,
    "pixelate": pixelate,
    "elastic_transform": elastic_transform,
}

_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
SUITES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "cifar10c": tuple(name for name in CORRUPTIONS if name not in _EXTRA),
    "extra": _EXTRA,
    "all": tuple(CORRUPTIONS),
}


def expand(names: Sequence[str], *, published: bool = False) -> tuple[str, ...]:
    """Return the corruptions that names and suites stand for, in first-mention order, each once.

    ``("none",)`` stands for no corruption. ``published`` says that the published files are there:
    then frost is too, alone and in the suites ``cifar10c`` and ``all``, after snow.

    Raises:
        UsageError: a name is unknown, cannot be had, or stands beside ``none``.
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
                    "the corruption 'frost' needs photographs of frost, so it is only to be had "
                    "from the published CIFAR-10-C files: give their folder with --cifar10c"
                )
            raise UsageError(f"unknown corruption {name!r}{did_you_mean(name, [*known, 'none'])}")
        expanded.update(dict.fromkeys(known[name]))
    return tuple(expanded)


def corrupt(images: Tensor, name: str, severity: int) -> Tensor:
    """Return a whole set of images under one corruption, the same bytes every time.

    The result depends on the images and their order, the name and the severity alone. The images
    are taken 500 at a time, and values are cut, not rounded, to 8 bits, as in the original. The
    first k of the results depend on the first k images alone where k is a multiple of 500.

    Args:
        images: uint8 of shape (N, H, W, 3) on the CPU, N ≥ 1, H and W ≥ 8.
        name: a key of ``CORRUPTIONS``.
        severity: from 1 to 5.

    Returns:
        uint8 of shape (N, H, W, 3).

    Raises:
        UsageError: an argument is none of these.
    """
    if name not in CORRUPTIONS:
        raise UsageError(f"unknown corruption {name!r}{did_you_mean(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise UsageError(f"severity is {severity!r}; it must be a whole number from 1 to 5")
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[0] < 1 or shape[3] != 3:
        raise UsageError(
            f"images to corrupt are {images.dtype} of shape {shape}; "
            "they must be uint8 of shape (N, H, W, 3) with N ≥ 1"
        )
    if min(shape[1:3]) < SMALLEST_SIDE:
        raise UsageError(
            f"images to corrupt are {shape[1]}×{shape[2]}; "
            f"they must be at least {SMALLEST_SIDE}×{SMALLEST_SIDE}"
        )
    generator = torch.Generator().manual_seed(seed_for("corruption", name, severity))
    corrupted = torch.empty_like(images, memory_format=torch.contiguous_format)
    for start in range(0, len(images), IMAGES_PER_CHUNK):
        chunk = images[start : start + IMAGES_PER_CHUNK]
        clean = chunk.permute(0, 3, 1, 2).contiguous().float().div_(255)
        result = CORRUPTIONS[name](clean, severity, generator)
        corrupted[start : start + IMAGES_PER_CHUNK] = (
            (result * 255).to(torch.uint8).permute(0, 2, 3, 1)
        )
    return corrupted
