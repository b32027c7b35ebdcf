"""Images mirrored, cropped, normalised and with noise as by PyTorch, to the last bit."""

from __future__ import annotations

import pytest
import torch

from actbench.data.augmentation import Augmentation
from actbench.data.images import normalise
from actbench.models.native.take_images import take_images
from helpers.compiler import has_compiler

pytestmark = has_compiler

STORED = 20


def images_of(height: int, width: int) -> torch.Tensor:
    """Return images in which every byte occurs, if they are large enough."""
    values = torch.randint(0, 256, (STORED, height, width, 3), dtype=torch.uint8)
    values.view(-1)[: min(256, values.numel())] = torch.arange(min(256, values.numel()))
    return values


@pytest.mark.parametrize("padding", [1, 4, 40])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (28, 28), (5, 9), (1, 1)])
@pytest.mark.parametrize("changes", [(), ("flip",), ("crop",), ("flip", "crop")])
def test_the_images_of_a_batch(
    height: int, width: int, padding: int, changes: tuple[str, ...]
) -> None:
    images = images_of(height, width)
    index = torch.randint(0, STORED, (33,))
    index[:2] = torch.tensor([0, STORED - 1])
    draws = Augmentation(["flip", f"crop:{padding}"], flip=True).draw(33, width, 0, 1)
    draws["crop"][:2] = torch.tensor([[0, 0], [2 * padding, 2 * padding]])
    draws = {name: draws[name] for name in changes}
    moved = Augmentation([f"crop:{padding}"], flip=True).before(images[index], draws)
    flip, corner = draws.get("flip"), draws.get("crop")
    taken = take_images(images, index, flip=flip, corner=corner, padding=padding)
    assert torch.equal(taken, normalise(moved))
    assert taken.is_contiguous(memory_format=torch.channels_last)


def test_no_image_at_all() -> None:
    taken = take_images(images_of(32, 32), torch.empty(0, dtype=torch.int64))
    assert taken.shape == (0, 3, 32, 32)


@pytest.mark.parametrize("wrong", [-1, STORED])
def test_an_index_without_an_image(wrong: int) -> None:
    with pytest.raises(IndexError, match=r"an index is not in \[0, 20\)"):
        take_images(images_of(4, 4), torch.tensor([0, wrong]))


def test_noise_is_added_where_there_are_numbers_for_it() -> None:
    images, numbers = images_of(4, 4), torch.ones(60)
    usual = {"numbers": numbers, "deviation": 0.1}
    index = torch.tensor([0, 1])
    taken = take_images(images, index, noise=torch.tensor([0, 12]), **usual)  # type: ignore[arg-type]
    assert torch.allclose(taken, (normalise(images[:2]) + 0.1).clamp(-1, 1))
    for wrong in (-1, 13):
        with pytest.raises(IndexError, match=r"or noise begins too late"):
            take_images(images, index, noise=torch.tensor([0, wrong]), **usual)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": images_of(4, 4).float()}, r"uint8 of shape \(20, 4, 4, 3\) .* not torch.float"),
        ({"images": images_of(4, 4).transpose(1, 2)}, r"contiguous torch.uint8 of shape"),
        ({"index": torch.tensor([1, 2], dtype=torch.int32)}, r"int64 .* not torch.int32"),
        ({"flip": torch.tensor([True])}, r"bool of shape \(2,\) .* of shape \(1,\) on cpu"),
        ({"corner": torch.zeros(2, 3, dtype=torch.int64)}, r"int64 of shape \(2, 2\)"),
    ],
)
def test_another_tensor_is_refused(changes: dict[str, torch.Tensor], message: str) -> None:
    usual = {"images": images_of(4, 4), "index": torch.tensor([1, 2])}
    with pytest.raises(ValueError, match=message):
        take_images(**usual | changes)
