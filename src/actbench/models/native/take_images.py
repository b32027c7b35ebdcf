"""Training images, mirrored, cropped, normalised and with noise in one pass, in C++."""

from __future__ import annotations

import ctypes

import torch

from actbench.models.native.compiled import library, pointer


def take_images(
    images: torch.Tensor,
    index: torch.Tensor,
    *,
    flip: torch.Tensor | None = None,
    corner: torch.Tensor | None = None,
    padding: int = 0,
    noise: torch.Tensor | None = None,
    numbers: torch.Tensor | None = None,
    deviation: float = 0.0,
) -> torch.Tensor:
    """Return chosen images, mirrored, then cropped, then normalised, then with noise.

    The bits are those of PyTorch's operations, in a quarter of their time.

    Args:
        images: uint8 (N, H, W, 3), contiguous, as all tensors here, and on the processor.
        index: which, int64 (B,).
        flip: whether to mirror each, bool (B,); none unless given.
        corner: the first row and column that are kept of each image with a black border, int64
            (B, 2), each from 0 to twice the padding; images are not cropped unless given.
        padding: the width of the border in pixels.
        noise: where the noise of each image begins in ``numbers``, int64 (B,); no noise unless
            given. Images with noise are clipped to [−1, 1].
        numbers: float32, standard normal; needed with noise.
        deviation: the noise's standard deviation.

    Returns:
        float32 (B, 3, H, W) in [−1, 1], in channels_last.

    Raises:
        IndexError: there is no image of such an index, or the numbers end before the noise.
        ValueError: a tensor has another type, shape, layout or device.
        UnavailableError: the C++ source cannot be compiled (see ``compiled.prepare``).
    """
    stored, height, width, _ = images.shape
    count = len(index)
    for tensor, dtype, shape in (
        (images, torch.uint8, (stored, height, width, 3)),
        (index, torch.int64, (count,)),
        (flip, torch.bool, (count,)),
        (corner, torch.int64, (count, 2)),
        (noise, torch.int64, (count,)),
        (numbers, torch.float32, (0 if numbers is None else len(numbers),)),
    ):
        if tensor is not None and not (
            tensor.dtype == dtype
            and tensor.shape == shape
            and tensor.is_contiguous()
            and tensor.device.type == "cpu"
        ):
            raise ValueError(
                f"take_images takes contiguous {dtype} of shape {shape} on the processor, not "
                f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"
            )
    taken = torch.empty((count, 3, height, width), memory_format=torch.channels_last)
    length = 0 if numbers is None else len(numbers)
    sizes = (ctypes.c_ssize_t * 6)(stored, count, height, width, padding, length)
    tensors = (images, index, flip, corner, noise, numbers, taken)
    if not library("take_images").take_images(
        sizes, ctypes.c_float(deviation), *map(pointer, tensors)
    ):
        raise IndexError(f"take_images: an index is not in [0, {stored}), or noise begins too late")
    return taken
