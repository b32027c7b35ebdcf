"""Data sets of PyTorch and Hugging Face, item by item."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset
from torchvision.transforms import v2

import actbench
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError
from helpers.made_images import four_arrays, noise

if TYPE_CHECKING:
    from collections.abc import Callable

X, Y, X_TEST, Y_TEST = four_arrays(36)


class Items(Dataset):  # type: ignore[type-arg]
    """A data set as PyTorch users write them, with a transform."""

    def __init__(
        self, x: Any = X, y: Any = Y, transform: Callable[[Any], Any] = lambda image: image
    ) -> None:
        self.x, self.y, self.transform = x, y, transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, number: int) -> Any:
        return self.transform(self.x[number]), self.y[number]


class Rows:
    """A data set as Hugging Face's: dicts by index, and features."""

    def __init__(self, x: Any, y: Any, *, image: str = "img", label: str = "label", **more: Any):
        self._rows = [{image: a, label: b, **more} for a, b in zip(x, y, strict=True)]
        self.features = {image: SimpleNamespace(), label: SimpleNamespace(names=["a", "b", "c"])}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self._rows[number]


def read(train: Any, test: Any, **options: Any) -> ImageData:
    return open_images(prepare(actbench.from_dataset(train, test, **options)))


def both(transform: Callable[[Any], Any]) -> ImageData:
    return read(Items(transform=transform), Items(X_TEST, Y_TEST, transform))


FORMS: dict[str, Callable[[Any], Any]] = {
    "array": lambda x: x,
    "PIL image": Image.fromarray,
    "tensor of bytes": lambda x: torch.from_numpy(x.transpose(2, 0, 1).copy()),
    "tensor of floats": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_items_of_every_form_are_the_same_data_set(form: str) -> None:
    data = both(FORMS[form])
    assert np.array_equal(data.train_images.numpy(), X)
    assert np.array_equal(data.test_images.numpy(), X_TEST)
    assert data.train_labels.tolist() == Y.tolist()
    assert data.test_labels.tolist() == Y_TEST.tolist()
    assert data.notes == ()
    name = actbench.from_dataset(Items(transform=FORMS[form]), Items(X_TEST, Y_TEST))
    assert name == actbench.arrays(X, Y, X_TEST, Y_TEST)


def test_grey_pictures_and_pictures_with_transparency_become_colour() -> None:
    grey = both(lambda x: Image.fromarray(x).convert("L")).train_images
    assert torch.equal(grey[..., 0], grey[..., 2])
    clear = both(lambda x: Image.fromarray(np.dstack([x, x[..., 0] // 255 * 255])))
    assert (clear.train_images == 255).float().mean() > 0.9  # on white


def test_rows_of_dicts_have_names_of_classes() -> None:
    pictures = list(map(Image.fromarray, X)), list(map(Image.fromarray, X_TEST))
    data = read(Rows(pictures[0], Y), Rows(pictures[1], Y_TEST))
    assert np.array_equal(data.train_images.numpy(), X)
    assert data.classes == ("a", "b", "c")
    coarse = {"image": "picture", "label": "fine_label", "coarse_label": 0}
    rows = Rows(X, Y, **coarse), Rows(X_TEST, Y_TEST, **coarse)
    assert read(*rows, image="picture", label="fine_label").classes == ("a", "b", "c")
    with pytest.raises(
        UsageError, match=r"train\[0\] has picture, fine_label, coarse_label; name the"
    ):
        read(*rows)
    with pytest.raises(UsageError, match=r"train\[0\] has no 'x'; it has picture, fine_label"):
        read(*rows, image="x", label="fine_label")


def test_the_classes_of_a_data_set_or_of_its_whole_are_used() -> None:
    whole = Items()
    whole.classes = ["x", "y", "z"]  # type: ignore[attr-defined]
    part = Subset(whole, range(3))
    assert read(whole, part).classes == ("x", "y", "z")
    assert read(part, whole, classes=["1", "2", "3"]).classes == ("1", "2", "3")
    others = Items(X_TEST, Y_TEST)
    others.classes = ["x", "z", "y"]  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="the training and the test set have different classes"):
        read(whole, others)


def test_tensor_datasets_work() -> None:
    images = torch.from_numpy(X.transpose(0, 3, 1, 2).copy())
    data = read(
        TensorDataset(images, torch.from_numpy(Y)), TensorDataset(images, torch.from_numpy(Y))
    )
    assert np.array_equal(data.train_images.numpy(), X)


def test_pictures_of_several_sizes_are_resized_when_asked() -> None:
    pictures = [noise(1, size, size)[0] for size in (30, 40, 50, 40)]
    train, test = Items(pictures, [0, 1, 0, 1]), Items(pictures, [0, 1, 0, 1])
    with pytest.raises(
        UsageError, match=r"train\[1\] is 40×40 pixels, where others are 30×30; give"
    ):
        read(train, test)
    data = read(train, test, image_size=40)
    assert data.train_images.shape == (4, 40, 40, 3)
    assert np.array_equal(data.train_images[1].numpy(), pictures[1])
    assert "4 of 8 images were resized to 40×40 pixels (of 2 sizes, most often 50×50)" in data.notes


def test_random_transforms_are_refused() -> None:
    flip = v2.RandomHorizontalFlip()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with pytest.raises(
            UsageError, match=r"train\[\d\] differs from call to call; leave out ran"
        ):
            both(lambda x: flip(torch.from_numpy(x.transpose(2, 0, 1).copy())))


def normalised(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(x.transpose(2, 0, 1) / 127.5 - 1)


def fails(_: object) -> None:
    raise RuntimeError("a bad\nfile")


class Endless:
    """Has no length and no items by index."""

    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            Items(transform=normalised),
            r"train\[0\] has floats from -1 to .*; do not normalise them",
        ),
        (Items(transform=fails), r"train\[0\] cannot be read: a bad file"),
        (Items(transform=lambda x: x.ravel()), r"the image of train\[0\] is ndarray of shape"),
        (Items(transform=lambda _: "a.png"), r"the image of train\[0\] is str of shape \(\)"),
        (Items(transform=lambda x: x.astype(int)), r"train\[0\] is int64; images must be uint8"),
        (Items(y=["cat"] * 12), r"the label of train\[0\] is 'cat'; it must be an integer"),
        (Items(y=[0.5] * 12), r"the label of train\[0\] is 0\.5; it must be an integer"),
        (Items(y=[10**30] * 12), r"the label of train\[0\] is 1000000000.*; it must be an integer"),
        (Items(y=Y - 1), r"train\[0\] has the label -1; labels must be from 0"),
        (Items(y=Y + 1), "but no 0; without names of classes"),
        (Items(x=[]), "the train set is empty"),
        (Endless(), "the train set is of type Endless; it must have a length and items by index"),
        ([(1, 2, 3)], r"train\[0\] is of type tuple; it must be a pair of image and label"),
        (Items(x=noise(12, 20)), r"train\[0\] is 20×20 pixels; give --image-size"),
    ],
)
def test_other_data_sets_are_refused_in_one_line(train: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read(train, Items(X_TEST, Y_TEST))
    assert "\n" not in str(error.value)
