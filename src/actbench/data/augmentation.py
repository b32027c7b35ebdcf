"""Random changes of training images, the same for every activation of a seed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from actbench.data.images import normalise
from actbench.models.native.take_images import take_images
from actbench.study.recipe import (
    AUGMENTATIONS,
    Auto,
    Crop,
    Cutout,
    Flip,
    PixelNoise,
)
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Iterable

Draws = dict[str, torch.Tensor]

NOISE_STARTS = 2**20


class Augmentation:
    """The changes that a study makes to its training images, in a fixed order.

    Flips and crops move the pixels of uint8 images; noise and then cutout follow, on normalised
    images. What is drawn for each image depends on the seed, the epoch and the image's position
    in it only; see ``draw``.

    Args:
        specs: the augmentations (``Study.augment``).
        flip: whether a mirrored image keeps its label, which decides what ``auto`` means.
        mean: the mean of each channel, for pixels in [0, 1], that cutout sets pixels to.
    """

    def __init__(
        self, specs: Iterable[str], *, flip: bool, mean: Iterable[float] = (0.5, 0.5, 0.5)
    ) -> None:
        chosen = {type(c): c for c in (AUGMENTATIONS.resolve(spec) for spec in specs)}
        self._flips = Flip in chosen or (Auto in chosen and flip)
        crop, cutout, noise = (chosen.get(kind) for kind in (Crop, Cutout, PixelNoise))
        self._padding = crop.padding if isinstance(crop, Crop) else 0
        self._cutout = cutout.size if isinstance(cutout, Cutout) else 0
        self._sigma = noise.sigma if isinstance(noise, PixelNoise) else 0.0
        self._mean = tuple(mean)

    def draw(self, count: int, side: int, seed: int, epoch: int) -> Draws:
        """Return what an epoch draws for its images of ``side`` pixels, in their order.

        ``flip``, bool (count,), is whether to mirror; ``crop``, int64 (count, 2), is the first row
        and column of the padded image that is kept; ``cutout``, int64 (count, 2), is the row and
        the column of the square's centre; ``noise``, int64 (count,), is where the image's noise
        begins in the table of normal numbers. Only those that are used are there.
        """
        draws = {}
        if self._flips:
            draws["flip"] = torch.rand(count, generator=_generator("flip", seed, epoch)) < 0.5
        if self._padding:
            positions = 2 * self._padding + 1
            generator = _generator("crop", seed, epoch)
            draws["crop"] = torch.randint(positions, (count, 2), generator=generator)
        if self._cutout:
            generator = _generator("cutout", seed, epoch)
            draws["cutout"] = torch.randint(side, (count, 2), generator=generator)
        if self._sigma:
            generator = _generator("pixel noise", seed, epoch)
            draws["noise"] = torch.randint(NOISE_STARTS, (count,), generator=generator)
        return draws

    def take(
        self, images: torch.Tensor, index: torch.Tensor, draws: Draws, *, native: bool = False
    ) -> torch.Tensor:
        """Return chosen images, changed and normalised: float32 (B, 3, H, W) in [−1, 1].

        Args:
            images: uint8 (N, H, W, 3).
            index: which, int64 (B,), on the device of the images, as the draws.
            draws: what is drawn for each of the chosen.
            native: use the native kernels, which take less time.
        """
        if not native:
            # index_select copies images as blocks, which is faster than [index]
            moved = self.before(images.index_select(0, index), draws)
            return self.after(normalise(moved), draws)
        noise = draws.get("noise")
        taken = take_images(
            images,
            index,
            flip=draws.get("flip"),
            corner=draws.get("crop"),
            padding=self._padding,
            noise=noise,
            numbers=None if noise is None else _normal_table(images[0].numel(), images.device),
            deviation=2 * self._sigma,
        )
        return self._cut_out(taken, draws)

    def before(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return uint8 images (B, H, W, 3), mirrored and cropped by their draws."""
        if "flip" in draws:
            both = torch.stack([images, images.flip(2)]).flatten(0, 1)
            rows = torch.arange(len(images), device=images.device)
            images = both.index_select(0, rows + len(images) * draws["flip"])
        return _cropped(images, draws["crop"], self._padding) if "crop" in draws else images

    def after(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return images, float32 (B, 3, H, W) in [−1, 1], with noise and squares cut out.

        The images, in channels_last, are changed in place.
        """
        if "noise" in draws:
            noise = _noise(images.permute(0, 2, 3, 1).shape, draws["noise"])
            images.add_(noise.permute(0, 3, 1, 2), alpha=2 * self._sigma).clamp_(-1, 1)
        return self._cut_out(images, draws)

    def _cut_out(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return images with their squares, if any, set to the mean colour; changed in place."""
        if "cutout" in draws:
            pixels = images.permute(0, 2, 3, 1).view(-1, len(self._mean))
            inside = _square(images, draws["cutout"], self._cutout)
            for channel, mean in enumerate(self._mean):
                pixels[:, channel].index_fill_(0, inside, 2 * mean - 1)
        return images


def _noise(shape: torch.Size, starts: torch.Tensor) -> torch.Tensor:
    """Return standard normal noise, float32, shaped as (B, H, W, C).

    The noise of an image is the run of the table from its start, (B,), on. So a step draws one
    number for each image, not one for each value, which took a tenth of a step of ``cnn``. Salimans
    et al. 2017 (arXiv:1703.03864) share a table likewise.
    """
    length = shape[1:].numel()
    runs = _normal_table(length, starts.device).as_strided((NOISE_STARTS, length), (1, 1))
    return runs.index_select(0, starts).view(shape)


@functools.lru_cache(maxsize=4)
def _normal_table(length: int, device: torch.device) -> torch.Tensor:
    """Return standard normal numbers for runs of ``length`` from any of ``NOISE_STARTS`` starts."""
    table = torch.randn(NOISE_STARTS + length - 1, generator=_generator("table of pixel noise"))
    return table.to(device)


def _cropped(images: torch.Tensor, corners: torch.Tensor, padding: int) -> torch.Tensor:
    """Return the parts of black-bordered uint8 images (B, H, W, 3) from ``corners``, (B, 2), on.

    Every row of a part is a run of bytes of the padded batch. A view with a window at each pixel
    lets ``index_select`` copy the runs, four times as fast as a gather of pixels.
    """
    count, height, width, channels = images.shape
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))
    runs = padded.flatten().as_strided(
        (count * padded.shape[1] * padded.shape[2] - width + 1, width * channels), (channels, 1)
    )
    image = torch.arange(count, device=images.device)[:, None]
    row = corners[:, :1] + torch.arange(height, device=images.device)
    start = (image * padded.shape[1] + row) * padded.shape[2] + corners[:, 1:]
    return runs.index_select(0, start.flatten()).view(images.shape)


def _square(images: torch.Tensor, centres: torch.Tensor, size: int) -> torch.Tensor:
    """Return the pixels in a square of ``size`` pixels around each centre, as rows of (BHW, 3).

    A square of even size begins half of it before its centre. At the border, part of it is missing:
    its pixels at the border are there more than once instead.
    """
    count, _, height, width = images.shape
    offset = torch.arange(size, device=images.device) - size // 2
    row = (centres[:, :1] + offset).clamp_(0, height - 1)
    column = (centres[:, 1:] + offset).clamp_(0, width - 1)
    image = torch.arange(count, device=images.device)[:, None, None]
    return ((image * height + row[:, :, None]) * width + column[:, None, :]).flatten()


def _generator(*context: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*context))
