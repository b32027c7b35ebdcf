"""Dataset names → where their images are, and how to read them into uint8 arrays."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import socket
import stat
import sys
import unicodedata
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.cache import cache_folder, refuse_link
from actbench.errors import UsageError
from actbench.study.registry import Entry, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    from PIL import Image

    Pixels = npt.NDArray[np.uint8]

SIZE = 32
_NOT_IMAGES = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    ``fingerprint`` names its files as they are now (every name, size and time of change); ``read``
    gives ``train_images``, ``test_images`` (uint8, (N, 32, 32, 3)), ``train_labels``,
    ``test_labels`` (int64, (N,)), ``classes`` (their names), ``flip`` (whether a mirrored image
    keeps its label) and ``notes`` (a sentence for each thing that was done to the images).
    """

    fingerprint: Callable[[], str]
    read: Callable[[], dict[str, Any]]


def _digits(dataset: str, data_dir: str) -> Source:
    if data_dir:
        raise UsageError("dataset 'digits' comes with scikit-learn and takes no data_dir")
    return Source(lambda: f"{dataset} {version('scikit-learn')}", _read_digits)


def _read_digits() -> dict[str, Any]:
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    scaled = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    enlarged = [
        np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        for image in scaled
    ]
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
        "notes": [f"all {len(labels)} images were enlarged from 8×8 to 32×32 pixels"],
    }


@dataclass(frozen=True)
class _Torchvision:
    """A data set that torchvision downloads.

    ``name`` is its class there; ``files`` are what a person would put into ``folder`` by hand;
    ``unpacked`` are the files and folders that it is then read from.
    """

    name: str
    folder: str
    files: tuple[str, ...]
    unpacked: tuple[str, ...]
    flip: bool

    def __call__(self, dataset: str, data_dir: str) -> Source:
        root = _folder_of(data_dir) if data_dir else cache_folder() / "datasets"
        return Source(
            lambda: f"{dataset} {root.resolve()} {self._fingerprint(root)}",
            lambda: self._read(dataset, root),
        )

    def _fingerprint(self, root: Path) -> str:
        digest = hashlib.sha256()
        for name in self.unpacked:
            path = root / name
            if path.is_dir():
                found = sorted(_files(path))
            else:
                found = [(name, *_size_and_time(path))] if path.exists() else []
            _add_files(digest, name, found)
        return digest.hexdigest()

    def _parts(self, root: Path, *, download: bool) -> list[Any]:
        import torchvision

        kind = getattr(torchvision.datasets, self.name)
        asked = (
            [{"split": "train"}, {"split": "test"}]
            if self.name == "SVHN"
            else [{"train": True}, {"train": False}]
        )
        # torchvision tells its progress on stdout, which belongs to our summary
        with contextlib.redirect_stdout(sys.stderr):
            return [kind(str(root), download=download, **part) for part in asked]

    def _find_or_download(self, dataset: str, root: Path) -> list[Any]:
        with contextlib.suppress(Exception):  # absent or damaged, in whatever way
            return self._parts(root, download=False)
        if cache_folder() in root.parents:
            for path in (root, *(root / self.folder / name for name in self.files)):
                refuse_link(path)
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(30)
        try:
            root.mkdir(parents=True, exist_ok=True)
            return self._parts(root, download=True)
        except Exception as error:  # torchvision's readers assert what a damaged file breaks
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UsageError(
                f"dataset {dataset!r} is not in {str(root)!r} and cannot be downloaded ({reason}); "
                f"put {' and '.join(self.files)} into {str(root / self.folder)!r}"
            ) from None
        finally:
            socket.setdefaulttimeout(before)

    def _read(self, dataset: str, root: Path) -> dict[str, Any]:
        content: dict[str, Any] = {"flip": self.flip, "notes": []}
        for part, images in zip(
            ("train", "test"), self._find_or_download(dataset, root), strict=True
        ):
            content[f"{part}_images"] = _as_rgb_32(np.asarray(images.data))
            labels = images.labels if self.name == "SVHN" else images.targets
            content[f"{part}_labels"] = np.asarray(labels, dtype=np.int64)
            content["classes"] = getattr(images, "classes", [str(digit) for digit in range(10)])
        if np.ndim(images.data) == 3:
            count = len(content["train_images"]) + len(content["test_images"])
            content["notes"].append(
                f"all {count} images were framed in black from 28×28 to 32×32 pixels"
            )
        return content


def _folder_of(data_dir: str) -> Path:
    with contextlib.suppress(OSError, RuntimeError):  # too long a name, a user who is not known
        folder = Path(data_dir).expanduser()
        if folder.is_dir():
            return folder
    raise UsageError(f"data_dir {data_dir!r} is not a folder")


def _as_rgb_32(images: npt.NDArray[Any]) -> Pixels:
    if images.ndim == 3:  # grey, 28×28: MNIST and Fashion-MNIST
        images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        images = np.repeat(images[..., None], 3, axis=3)
    elif images.shape[1] == 3:  # SVHN keeps colour first
        images = images.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images, dtype=np.uint8)


def _add_files(digest: Any, part: str, files: Iterable[tuple[str, int, int]]) -> None:
    for name, size, time in files:
        digest.update(f"{part}/{name}\0{size}\0{time}\n".encode("utf-8", "surrogateescape"))


def _size_and_time(path: Path | os.DirEntry[str]) -> tuple[int, int]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise OSError(f"{os.fspath(path)!r} is no file")
    return status.st_size, status.st_mtime_ns


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _NOT_IMAGES:
                continue
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield f"{prefix}{entry.name}", *_size_and_time(entry)


def _image_folder(dataset: str, data_dir: str) -> Source:
    if not data_dir:
        raise UsageError(
            "dataset 'imagefolder' needs --data-dir: a folder with train/<class>/ and test/<class>/"
        )
    root = _folder_of(data_dir)
    parts: dict[str, list[str]] = {}
    digest = hashlib.sha256(f"{dataset} {root.resolve()}".encode("utf-8", "surrogateescape"))
    for part in ("train", "test"):
        folder = root / part
        if not folder.is_dir():
            raise UsageError(f"data_dir {data_dir!r} has no folder {part!r}: {str(folder)!r}")
        try:
            found = sorted(_files(folder))
        except OSError as error:
            raise UsageError(f"cannot read {str(folder)!r}: {error}") from None
        _add_files(digest, part, found)
        parts[part] = [name for name, _, _ in found]
    classes = _class_names(root, parts)
    return Source(digest.hexdigest, lambda: _read_image_folder(root, parts, classes))


def check_apart(folder: Path, dataset: str, data_dir: str) -> None:
    """Check that files written to a folder cannot be read as images of the data set.

    Raises:
        UsageError: the folder lies inside ``train`` or ``test`` of an image folder, or is one.
    """
    if dataset != "imagefolder" or not data_dir:
        return
    with contextlib.suppress(OSError, RuntimeError):  # such a data_dir is refused later
        where = folder.expanduser().resolve()
        root = Path(data_dir).expanduser().resolve()
        for part in (root / "train", root / "test"):
            if where.is_relative_to(part.resolve()):
                raise UsageError(
                    f"{str(folder)!r} lies inside the data folder {str(part)!r}, so its files "
                    "would be read as images; give a folder outside it"
                )


def _class_names(root: Path, parts: dict[str, list[str]]) -> list[str]:
    found: dict[str, set[str]] = {}
    for part, names in parts.items():
        folder = root / part
        loose = next((name for name in names if "/" not in name), None)
        if loose is not None:
            raise UsageError(f"{str(folder / loose)!r} lies outside a class folder")
        folders = sorted({name.partition("/")[0] for name in names})
        found[part] = set(map(_composed, folders))
        if len(found[part]) < len(folders):
            twice = next(name for name in folders if name != _composed(name))
            raise UsageError(
                f"{str(folder)!r} has two folders for the class {_composed(twice)!r}, which differ "
                "in Unicode normalisation (NFC and NFD) only; merge them"
            )
        there = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")}
        empty = sorted(there - set(folders))
        if not found[part]:
            raise UsageError(
                f"{str(folder)!r} has no images; it needs {part}/<class>/<image files>"
            )
        if empty:
            raise UsageError(f"the class folder {str(folder / empty[0])!r} has no images")
        if len(found[part]) < 2:
            raise UsageError(f"{str(folder)!r} has one class alone; a comparison needs two or more")
    different = sorted(found["train"] ^ found["test"])
    if different:
        where = "train" if different[0] in found["train"] else "test"
        raise UsageError(
            f"train and test in {str(root)!r} have different classes: "
            f"{different[0]!r} is in {where} alone"
        )
    return sorted(found["train"])


def _composed(name: str) -> str:
    """Return a class's name in NFC: file systems differ in which form they keep."""
    return unicodedata.normalize("NFC", name)


def _read_image_folder(
    root: Path, parts: dict[str, list[str]], classes: list[str]
) -> dict[str, Any]:
    index = {name: label for label, name in enumerate(classes)}
    content: dict[str, Any] = {"classes": classes, "flip": True}
    sizes: Counter[tuple[int, int]] = Counter()
    unturned: list[str] = []
    for part, names in parts.items():
        # class by class in turn, so that the first images of a set stand for all classes
        seen = dict.fromkeys(classes, 0)
        turns: list[tuple[int, int, str]] = []
        for name in names:
            label = _composed(name.partition("/")[0])
            turns.append((seen[label], index[label], name))
            seen[label] += 1
        turns.sort()
        paths = [root / part / name for _, _, name in turns]
        # Pillow warns of every odd tag of every file
        with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            warnings.filterwarnings("ignore", module="PIL")
            images = list(pool.map(_decode, paths))
        sizes.update(image.size for image in images)
        unturned += [
            f"{part}/{name}"
            for (_, _, name), image in zip(turns, images, strict=True)
            if image.unturned
        ]
        content[f"{part}_images"] = np.stack([image.pixels for image in images])
        content[f"{part}_labels"] = np.array([label for _, label, _ in turns], dtype=np.int64)
    content["notes"] = _reading_notes(sizes, unturned)
    return content


def _reading_notes(sizes: Counter[tuple[int, int]], unturned: list[str]) -> list[str]:
    """Return what was done to the images of a folder, given how many have which width × height."""
    notes = []
    others = {size: count for size, count in sizes.items() if size != (SIZE, SIZE)}
    if others:
        (width, height), _ = max(others.items(), key=lambda item: (item[1], item[0]))
        which = "all of them" if len(others) == 1 else f"of {len(others)} sizes, most often"
        note = (
            f"{sum(others.values())} of {sizes.total()} images were resized to {SIZE}×{SIZE} "
            f"pixels ({which} {width}×{height})"
        )
        squeezed = sum(count for (w, h), count in others.items() if w != h)
        if squeezed:
            note += f"; {squeezed} of them are not square and lost their aspect ratio"
        notes.append(note)
    if unturned:
        notes.append(
            f"{len(unturned)} of {sizes.total()} images have EXIF data that cannot be read and "
            f"were not turned, such as {unturned[0]!r}"
        )
    return notes


@dataclass(frozen=True)
class _Decoded:
    """An image as uint8 (32, 32, 3), its width × height in the file, and whether its EXIF failed.

    The size is that after turning.
    """

    pixels: Pixels
    size: tuple[int, int]
    unturned: bool


def read_image(path: Path) -> Pixels:
    """Return an image file as uint8 (32, 32, 3), shrunk or enlarged as need be.

    Transparent pixels show white behind them. Grey levels of more than 8 bits are scaled from the
    range of their format, and floats from [0, 1].

    Raises:
        UsageError: it is in no format or mode that is read, or damaged.
    """
    return _decode(path).pixels


def _decode(path: Path) -> _Decoded:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
            image.load()
            bits = _grey_bits(image)
            turned: Image.Image = image
            unturned = False
            try:
                turned = ImageOps.exif_transpose(image)
            except Exception:  # whatever a tag that is not what it says makes Pillow raise
                unturned = True
            picture = _as_rgb(turned, bits)
            size = picture.size
            if size != (SIZE, SIZE):
                picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            return _Decoded(np.array(picture), size, unturned)
    except UsageError as error:
        raise UsageError(f"cannot read the image {str(path)!r}: {error}") from None
    except UnidentifiedImageError:
        raise UsageError(
            f"{str(path)!r} is no image in a format that is read ({', '.join(FORMATS)})"
        ) from None
    except Exception as error:  # Pillow's readers raise whatever their format makes them raise
        reason = " ".join(str(error).replace(str(path), "it").split())[:120]
        raise UsageError(f"cannot read the image {str(path)!r}: {reason}") from None


# Those that Pillow decodes itself: for others, such as EPS, it starts programs.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI"),
    *("TGA", "TIFF", "WEBP"),
)
_BITS_PER_SAMPLE = 258  # the TIFF tag


def _grey_bits(image: Image.Image) -> int:
    """Return how many bits a file has for grey levels of more than 8 bits; 0 if it does not say."""
    if image.format != "TIFF":
        return 16  # Pillow scales them to these
    # mode I is for signed levels and for 32 bits, of which files use any part
    tags: dict[int, tuple[int, ...]] = getattr(image, "tag_v2", {})
    return tags.get(_BITS_PER_SAMPLE, (16,))[0] if image.mode != "I" else 0


def _as_rgb(image: Image.Image, grey_bits: int) -> Image.Image:
    """Return an image of any mode as 8-bit RGB; see ``_grey_bits``.

    Raises:
        UsageError: the range of its values is not known, or they are floats outside [0, 1].
    """
    from PIL import Image

    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):
            raise UsageError(
                f"its pixels are floats from {values.min():.4g} to {values.max():.4g}; they must "
                "lie in [0, 1], or be saved as whole numbers of 8 or 16 bits"
            )
        image = Image.fromarray(np.rint(values * 255).astype(np.uint8))
    elif image.mode.startswith("I"):
        if not grey_bits:
            raise UsageError(
                "its pixels are signed or 32-bit whole numbers, whose range the file does not say; "
                "save it with 8 or 16 bits"
            )
        levels = np.asarray(image).astype(np.int64) >> (grey_bits - 8)
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


_MNIST_FILES = tuple(
    f"{part}-{content}-ubyte.gz"
    for part in ("train", "t10k")
    for content in ("images-idx3", "labels-idx1")
)
_FASHION = ("FashionMNIST/raw",)
_CIFAR10 = ("cifar-10-python.tar.gz",), ("cifar-10-batches-py",)
_CIFAR100 = ("cifar-100-python.tar.gz",), ("cifar-100-python",)
_SVHN = ("train_32x32.mat", "test_32x32.mat")
DATASETS: Registry[Callable[[str, str], Source]] = Registry(
    "dataset",
    digits=Entry(_digits, "scikit-learn's 1,797 handwritten digits, enlarged; no download"),
    cifar10=Entry(
        _Torchvision("CIFAR10", "", *_CIFAR10, flip=True),
        "60,000 photographs in 10 classes",
    ),
    cifar100=Entry(
        _Torchvision("CIFAR100", "", *_CIFAR100, flip=True),
        "60,000 photographs in 100 classes",
    ),
    svhn=Entry(
        _Torchvision("SVHN", "", _SVHN, _SVHN, flip=False),
        "99,289 photographs of house numbers",
    ),
    mnist=Entry(
        _Torchvision("MNIST", "MNIST/raw", _MNIST_FILES, ("MNIST/raw",), flip=False),
        "70,000 handwritten digits",
    ),
    fashion_mnist=Entry(
        _Torchvision("FashionMNIST", "FashionMNIST/raw", _MNIST_FILES, _FASHION, flip=True),
        "70,000 pictures of clothes in 10 classes",
    ),
    imagefolder=Entry(
        _image_folder,
        "your own: --data-dir with train/<class>/… and test/<class>/…",
    ),
)
