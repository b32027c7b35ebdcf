"""Data sets that torchvision downloads: found, downloaded, damaged or missing files."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import pickle
import socket
import tarfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets as published

from actbench.data import datasets
from actbench.data.images import ImageData, open_images, prepare
from actbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


RED, GREEN, BLUE = (200, 30, 40), (10, 180, 20), (0, 0, 250)


# the published data sets, in small files of the official format


@dataclass(frozen=True)
class Publication:
    """A small data set in its publisher's format.

    ``files`` are by the name on the server; ``train`` and ``test`` are what must come out: uint8
    images (N, 32, 32, 3) and their labels.
    """

    files: dict[str, bytes]
    train: tuple[np.ndarray, list[int]]
    test: tuple[np.ndarray, list[int]]
    classes: tuple[str, ...]
    flip: bool


def random_images(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def tar_gz(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def cifar(patch: pytest.MonkeyPatch, server: str, kind: Any) -> Publication:
    """Publish pickled batches in a tar.gz: rows of 3,072 values, all red ones first."""
    fine = kind is published.CIFAR100
    key, meta_key = ("fine_labels", "fine_label_names") if fine else ("labels", "label_names")
    classes = tuple(f"class{i}" for i in range(100 if fine else 10))
    images, labels = {}, {}
    contents = {}
    for seed, (name, _) in enumerate([*kind.train_list, *kind.test_list]):
        images[name] = random_images(seed, 3, 32, 32, 3)
        labels[name] = [(seed + i) % len(classes) for i in range(3)]
        rows = images[name].transpose(0, 3, 1, 2).reshape(3, 3072)
        contents[name] = pickle.dumps({"data": rows, key: labels[name]})
    contents[kind.meta["filename"]] = pickle.dumps({meta_key: list(classes)})
    archive = tar_gz({f"{kind.base_folder}/{k}": v for k, v in contents.items()})
    for part in ("train_list", "test_list"):
        patch.setattr(kind, part, [[n, md5(contents[n])] for n, _ in getattr(kind, part)])
    meta = kind.meta["filename"]
    patch.setattr(kind, "meta", {"filename": meta, "key": meta_key, "md5": md5(contents[meta])})
    patch.setattr(kind, "tgz_md5", md5(archive))
    patch.setattr(kind, "url", f"{server}{kind.filename}")
    train = [name for name, _ in kind.train_list]
    test = [name for name, _ in kind.test_list]
    return Publication(
        {kind.filename: archive},
        (np.concatenate([images[n] for n in train]), [x for n in train for x in labels[n]]),
        (np.concatenate([images[n] for n in test]), [x for n in test for x in labels[n]]),
        classes,
        flip=True,
    )


def mnist(patch: pytest.MonkeyPatch, server: str, kind: Any) -> Publication:
    """Publish idx files, gzipped: a magic number, the sizes, then the bytes."""
    files, parts = {}, {}
    for seed, (part, count) in enumerate({"train": 7, "t10k": 4}.items()):
        images = random_images(seed, count, 28, 28)
        labels = [(3 * i + seed) % 10 for i in range(count)]
        sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
        idx3 = b"\0\0\x08\x03" + sizes + images.tobytes()
        idx1 = b"\0\0\x08\x01" + count.to_bytes(4, "big") + bytes(labels)
        files[f"{part}-images-idx3-ubyte.gz"] = gzip.compress(idx3)
        files[f"{part}-labels-idx1-ubyte.gz"] = gzip.compress(idx1)
        framed = np.zeros((count, 32, 32, 3), np.uint8)
        framed[:, 2:30, 2:30] = images[..., None]
        parts[part] = framed, labels
    patch.setattr(kind, "resources", [(name, md5(files[name])) for name, _ in kind.resources])
    patch.setattr(kind, "mirrors", [server])
    fashion = kind is published.FashionMNIST
    return Publication(files, parts["train"], parts["t10k"], tuple(kind.classes), flip=fashion)


def svhn(patch: pytest.MonkeyPatch, server: str, kind: Any) -> Publication:
    """Publish MATLAB files: 32×32×3×N, and labels from 1 to 10, where 10 is the digit 0."""
    files, parts, split_list = {}, {}, dict(kind.split_list)
    for seed, part in enumerate(("train", "test")):
        images, labels = random_images(seed, 5, 32, 32, 3), [1, 10, 9, 2, 10]
        buffer = io.BytesIO()
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.array(labels, np.uint8)[:, None]}
        scipy.io.savemat(buffer, content)
        name = f"{part}_32x32.mat"
        files[name] = buffer.getvalue()
        split_list[part] = [f"{server}{name}", name, md5(files[name])]
        parts[part] = images, [label % 10 for label in labels]
    patch.setattr(kind, "split_list", split_list)
    return Publication(files, parts["train"], parts["test"], tuple("0123456789"), flip=False)


PUBLISHERS = {
    "cifar10": (cifar, published.CIFAR10, ""),
    "cifar100": (cifar, published.CIFAR100, ""),
    "mnist": (mnist, published.MNIST, "MNIST/raw"),
    "fashion_mnist": (mnist, published.FashionMNIST, "FashionMNIST/raw"),
    "svhn": (svhn, published.SVHN, ""),
}


@pytest.fixture
def served() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the address of a server on this machine and the files that it serves, by name."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.lstrip("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", files
        server.shutdown()
        thread.join()


def nobody_listens() -> str:
    """Return the address of a port of this machine that is closed."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


def publish(dataset: str, server: str, patch: pytest.MonkeyPatch) -> Publication:
    patch.setenv("no_proxy", "127.0.0.1")
    make, kind, _ = PUBLISHERS[dataset]
    return make(patch, server, kind)


def assert_is(data: ImageData, publication: Publication) -> None:
    assert np.array_equal(data.train_images.numpy(), publication.train[0])
    assert np.array_equal(data.test_images.numpy(), publication.test[0])
    assert data.train_labels.tolist() == publication.train[1]
    assert data.test_labels.tolist() == publication.test[1]
    assert data.train_labels.dtype == torch.int64
    assert data.classes == publication.classes
    assert data.flip is publication.flip


@pytest.mark.parametrize("dataset", PUBLISHERS)
def test_a_published_data_set_is_downloaded_if_it_is_missing(
    dataset: str,
    served: tuple[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, files = served
    publication = publish(dataset, server, monkeypatch)
    files.update(publication.files)
    assert_is(open_images(prepare(dataset, str(tmp_path))), publication)
    # stdout belongs to the summary
    assert capsys.readouterr().out == ""
    # once it is there, neither the net nor the files' decoder is asked again
    files.clear()
    monkeypatch.setattr(datasets._Torchvision, "_read", None)
    assert_is(open_images(prepare(dataset, str(tmp_path))), publication)


@pytest.mark.parametrize("dataset", PUBLISHERS)
def test_without_a_network_the_files_to_put_and_their_folder_are_named(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = publish(dataset, nobody_listens(), monkeypatch)
    with pytest.raises(UsageError) as error:
        prepare(dataset, str(tmp_path))
    folder = tmp_path / PUBLISHERS[dataset][2]
    assert f"dataset {dataset!r} is not in {str(tmp_path)!r}" in str(error.value)
    assert f"into {str(folder)!r}" in str(error.value)
    assert all(name in str(error.value) for name in publication.files)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dataset", PUBLISHERS)
def test_files_copied_by_hand_need_no_network(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = publish(dataset, nobody_listens(), monkeypatch)
    folder = tmp_path / PUBLISHERS[dataset][2]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in publication.files.items():
        (folder / name).write_bytes(content)
    assert_is(open_images(prepare(dataset, str(tmp_path))), publication)


@pytest.mark.parametrize("dataset", PUBLISHERS)
def test_a_download_that_is_not_what_was_published_is_refused(
    dataset: str,
    served: tuple[str, dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, files = served
    publication = publish(dataset, server, monkeypatch)
    files.update({name: content[:-20] for name, content in publication.files.items()})
    with pytest.raises(UsageError, match="cannot be downloaded"):
        prepare(dataset, str(tmp_path))


def test_damaged_files_are_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publication = publish("mnist", nobody_listens(), monkeypatch)
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in publication.files:
        (folder / name.removesuffix(".gz")).write_bytes(b"not what was published")
    with pytest.raises(UsageError, match="dataset 'mnist'"):
        prepare("mnist", str(tmp_path))
