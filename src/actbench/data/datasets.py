"""Data set names, and how the images of each are found, downloaded and read as uint8 arrays."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.array_files import DIGEST_RULE, npz, stored_arrays
from actbench.data.folders import (
    Source,
    add_files,
    files_in,
    folder_of,
    image_folder,
    size_and_time,
)
from actbench.data.parquet import PARAMETERS as PARQUET_PARAMETERS
from actbench.data.parquet import parquet
from actbench.data.pictures import fitted
from actbench.data.reading import resized
from actbench.data.tiny_imagenet import tiny_imagenet
from actbench.errors import UsageError, message_of
from actbench.files.cache import cache_folder, refuse_link
from actbench.study.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

OWN_SIZE = 32  # of the data sets in this module


def _digits(dataset: str, data_dir: str) -> Source:
    if data_dir:
        raise UsageError("dataset 'digits' is part of scikit-learn and takes no data_dir")
    return Source(lambda: f"{dataset} {version('scikit-learn')}", _read_digits, OWN_SIZE)


def _read_digits(size: int, _: object) -> dict[str, Any]:
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    scaled = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    size = size or OWN_SIZE
    enlarged = [resized(Image.fromarray(image), size) for image in scaled]
    images = np.repeat(np.stack(enlarged)[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
        "classes": [str(name) for name in bunch.target_names],
        "flip": False,
        "notes": [f"all {len(labels)} images were enlarged from 8×8 to {size}×{size} pixels"],
        "own_size": OWN_SIZE,
    }


@dataclass(frozen=True)
class _Torchvision:
    """A data set that torchvision downloads.

    Attributes:
        name: its class in torchvision.
        folder: the folder in ``data_dir`` that ``files`` are downloaded to.
        files: the files to download.
        unpacked: the files and folders that are read.
        flip: whether a mirrored image keeps its label.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    unpacked: tuple[str, ...]
    flip: bool

    def __call__(self, dataset: str, data_dir: str) -> Source:
        root = folder_of(data_dir) if data_dir else cache_folder() / "datasets"
        return Source(
            lambda: f"{dataset} {root.resolve()} {self._fingerprint(root)}",
            lambda size, _: self._read(dataset, root, size or OWN_SIZE),
            OWN_SIZE,
        )

    def _fingerprint(self, root: Path) -> str:
        digest = hashlib.sha256()
        for name in self.unpacked:
            path = root / name
            if path.is_dir():
                found = sorted(files_in(path))
            else:
                found = [(name, *size_and_time(path))] if path.exists() else []
            add_files(digest, name, found)
        return digest.hexdigest()

    def _parts(self, root: Path, *, download: bool) -> list[Any]:
        import torchvision

        kind = getattr(torchvision.datasets, self.name)
        asked = (
            [{"split": "train"}, {"split": "test"}]
            if self.name == "SVHN"
            else [{"train": True}, {"train": False}]
        )
        # torchvision prints its progress to stdout, which is for the summary
        with contextlib.redirect_stdout(sys.stderr):
            return [kind(str(root), download=download, **part) for part in asked]

    def _find_or_download(self, dataset: str, root: Path) -> list[Any]:
        with contextlib.suppress(Exception):  # missing or damaged files raise many types
            return self._parts(root, download=False)
        if cache_folder() in root.parents:
            for path in (root, *(root / self.folder / name for name in self.files)):
                refuse_link(path)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(30)
        try:
            root.mkdir(parents=True, exist_ok=True)
            return self._parts(root, download=True)
        except Exception as error:  # damaged files raise many types
            raise UsageError(
                f"dataset {dataset!r} is not in {str(root)!r} and cannot be downloaded "
                f"({message_of(error)}); "
                f"put {' and '.join(self.files)} into {str(root / self.folder)!r}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)

    def _read(self, dataset: str, root: Path, size: int) -> dict[str, Any]:
        content: dict[str, Any] = {"flip": self.flip, "notes": [], "own_size": OWN_SIZE}
        for part, images in zip(
            ("train", "test"), self._find_or_download(dataset, root), strict=True
        ):
            pixels = _as_rgb(np.asarray(images.data))
            published = pixels.shape[1]
            if (published, size) == (28, OWN_SIZE):  # MNIST and Fashion-MNIST
                pixels = np.pad(pixels, ((0, 0), (2, 2), (2, 2), (0, 0)))
            content[f"{part}_images"] = fitted(pixels, size)
            labels = images.labels if self.name == "SVHN" else images.targets
            content[f"{part}_labels"] = np.asarray(labels, dtype=np.int64)
            content["classes"] = getattr(images, "classes", [str(digit) for digit in range(10)])
        if size != published:
            count = len(content["train_images"]) + len(content["test_images"])
            change = "padded with black" if (published, size) == (28, OWN_SIZE) else "resized"
            content["notes"].append(
                f"all {count} images were {change} from {published}×{published} to {size}×{size} "
                "pixels"
            )
        return content


def _as_rgb(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if images.ndim == 3:  # grey
        images = np.repeat(images[..., None], 3, axis=3)
    elif images.shape[1] == 3:  # SVHN has the colours first
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images, dtype=np.uint8)


_MNIST_FILES = tuple(
    f"{part}-{content}-ubyte.gz"
    for part in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)
_FASHION = ("FashionMNIST/raw",)
_CIFAR10 = ("cifar-10-python.tar.gz",), ("cifar-10-batches-py",)
_CIFAR100 = ("cifar-100-python.tar.gz",), ("cifar-100-python",)
_SVHN = ("train_32x32.mat", "test_32x32.mat")
DATASETS: Registry[Callable[..., Source]] = Registry(
    "dataset",
    importable=True,
    digits=Entry(_digits, "scikit-learn's 1,797 handwritten digits, enlarged; no download"),
    cifar10=Entry(
        _Torchvision("CIFAR10", "", *_CIFAR10, flip=True),
        "60,000 photographs, 32×32, in 10 classes",
    ),
    cifar100=Entry(
        _Torchvision("CIFAR100", "", *_CIFAR100, flip=True),
        "60,000 photographs, 32×32, in 100 classes",
    ),
    svhn=Entry(
        _Torchvision("SVHN", "", _SVHN, _SVHN, flip=False),
        "99,289 photographs of house numbers, 32×32",
    ),
    mnist=Entry(
        _Torchvision("MNIST", "MNIST/raw", _MNIST_FILES, ("MNIST/raw",), flip=False),
        "70,000 handwritten digits, 28×28, padded to 32×32",
    ),
    fashion_mnist=Entry(
        _Torchvision("FashionMNIST", "FashionMNIST/raw", _MNIST_FILES, _FASHION, flip=True),
        "70,000 pictures of clothes, 28×28, padded to 32×32, in 10 classes",
    ),
    tiny_imagenet=Entry(
        tiny_imagenet,
        "110,000 photographs, 64×64, in 200 classes; needs --data-dir",
    ),
    imagefolder=Entry(
        image_folder,
        "your own: --data-dir DIR with train/<class>/… and test/<class>/…",
    ),
    npz=Entry(npz, "your own: --data-dir FILE with x_train, y_train, x_test, y_test"),
    parquet=Entry(
        parquet,
        "your own: --data-dir DIR with train-….parquet and test-….parquet",
        PARQUET_PARAMETERS,
    ),
    arrays=Entry(
        stored_arrays,
        "your own, from Python: see actbench.arrays and from_dataset",
        {"digest": Parameter("", DIGEST_RULE)},
    ),
)


def resolve_dataset(text: str) -> str:
    """Return a data set's spec in its canonical form.

    Raises:
        UsageError: the name or a parameter is unknown.
    """
    spec = DATASETS.parse(text)
    if spec.imported:
        return spec.canonical(spec.parameters)
    return spec.canonical(DATASETS.bind(spec), main="digest")


def find_source(dataset: str, data_dir: str) -> Source:
    """Return the images that a data set's spec and its folder or file name.

    Raises:
        UsageError: the name or a parameter is unknown, or there are no such files.
    """
    spec = DATASETS.parse(dataset)
    if spec.imported:
        from actbench.data.own_function import function_source

        return function_source(spec, data_dir)
    entry = DATASETS[spec.name]
    return entry.target(dataset, data_dir, **{**entry.defaults, **DATASETS.bind(spec)})
