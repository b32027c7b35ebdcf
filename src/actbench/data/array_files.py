"""Images in one file of arrays: ``.npz`` in Keras's layout; arrays stored from Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.arrays import NAMES, array_content
from actbench.data.folders import Source, size_and_time
from actbench.data.pictures import fitted, resizing_notes
from actbench.errors import UnavailableError, UsageError, message_of
from actbench.files.atomic import expanded
from actbench.files.cache import cache_folder, data_path, read_tensors
from actbench.study.fields import Rule

if TYPE_CHECKING:
    from pathlib import Path

    import torch

STORED = "arrays"
_DIGEST = re.compile(r"sha256-[0-9a-f]{16}")
DIGEST_RULE = Rule(
    lambda value: isinstance(value, str) and _DIGEST.fullmatch(value) is not None,
    "what actbench.arrays or actbench.from_dataset returned after 'arrays:'",
)


def npz(dataset: str, data_dir: str) -> Source:
    """Return the images of an ``.npz`` file with ``x_train, y_train, x_test, y_test``.

    Raises:
        UsageError: there is no such file.
    """
    if not data_dir:
        raise UsageError(f"dataset 'npz' needs --data-dir: a .npz file with {', '.join(NAMES)}")
    try:
        path = expanded(data_dir)
        size_and_time(path)
    except (OSError, ValueError):  # such as a null character
        raise UsageError(f"data_dir {data_dir!r} is not a file") from None

    def fingerprint() -> str:
        return f"{dataset} {path.resolve()} {size_and_time(path)}"

    return Source(fingerprint, lambda size, _: _read_npz(path, size))


def _read_npz(path: Path, size: int) -> dict[str, Any]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            missing = [name for name in NAMES if name not in file]
            arrays = [] if missing else [file[name] for name in NAMES]
            there = list(file)
    except Exception as error:  # damaged files raise many types
        raise UsageError(
            f"{str(path)!r} is damaged or not an .npz file of plain arrays: "
            f"{message_of(error, str(path))}"
        ) from None
    if missing:
        raise UsageError(
            f"{str(path)!r} has no {' and no '.join(missing)}, only {', '.join(there) or 'nothing'}"
        )
    try:
        return array_content(arrays, size)
    except UsageError as error:
        raise UsageError(f"{str(path)!r}: {error}") from None


def stored_arrays(dataset: str, data_dir: str, *, digest: str) -> Source:
    """Return the images that ``actbench.arrays`` or ``actbench.from_dataset`` stored in the cache.

    Raises:
        UsageError: ``digest`` or ``data_dir`` is wrong.
    """
    if not digest:
        raise UsageError(f"dataset 'arrays' needs {DIGEST_RULE.expected}")
    if data_dir:
        raise UsageError(f"dataset {dataset!r} is in the cache and takes no data_dir")

    def stored() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        found = read_tensors(data_path(STORED, digest))
        if found is None:
            raise UnavailableError(
                f"the images of dataset {dataset!r} are not in the cache {str(cache_folder())!r}; "
                "call actbench.arrays or actbench.from_dataset with them again"
            )
        return found

    def read(size: int, _: object) -> dict[str, Any]:
        tensors, about = stored()
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        notes = about["notes"]
        if size:
            images = [arrays[f"{part}_images"] for part in ("train", "test")]
            own = images[0].shape[1]
            notes = notes + resizing_notes({(own, own): sum(map(len, images))}, size)
            for part in ("train", "test"):
                arrays[f"{part}_images"] = fitted(arrays[f"{part}_images"], size)
        return {**arrays, **about, "notes": notes}

    found = read_tensors(data_path(STORED, digest), check=False)
    return Source(lambda: digest, read, found[0]["train_images"].shape[1] if found else 0)
