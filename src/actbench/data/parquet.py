"""Images in parquet files as Hugging Face publishes them: a split in one or more files."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.arrays import class_names, missing_classes
from actbench.data.folders import Source, add_files, files_in, folder_of
from actbench.data.pictures import PictureReader
from actbench.errors import UsageError, message_of, reason_of
from actbench.study.registry import Parameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from actbench.data.pictures import File

ROWS_PER_BATCH = 1000
TEST_SPLITS = ("test", "validation", "valid", "val")
PARAMETERS = {"image": Parameter(""), "label": Parameter("")}


def parquet(dataset: str, data_dir: str, *, image: str, label: str) -> Source:
    """Return the images of a folder with a training and a test split in parquet files.

    A file belongs to the split whose name its own name, or its folder's, starts with, such as
    ``train-00000-of-00001.parquet`` or ``test/0000.parquet``; without a test split, the validation
    split is used. Images are encoded, in a column of bytes, or of structs with ``bytes``.

    Args:
        dataset: the spec, part of the fingerprint.
        data_dir: the folder.
        image: the column of the images; empty if there is only one that can be.
        label: the column of the labels; empty for the only column of class labels, or of integers.

    Raises:
        UsageError: pyarrow is not installed, or a split is missing or not unique.
    """
    if not data_dir:
        raise UsageError(
            "dataset 'parquet' needs --data-dir: a folder with train-….parquet and test-….parquet"
        )
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError(
            "dataset 'parquet' needs pyarrow, which is not installed; "
            "pip install 'actbench[parquet]' installs it"
        ) from None
    root = folder_of(data_dir)
    splits = {part: _split(root, part) for part in ("train", "test")}

    def fingerprint() -> str:
        digest = hashlib.sha256(f"{dataset} {root.resolve()}".encode("utf-8", "surrogateescape"))
        add_files(digest, "", [file for file in _files(root) if root / file[0] in _all(splits)])
        return digest.hexdigest()

    return Source(
        fingerprint,
        lambda size, on_progress: _Reader(root, splits, image, label).read(
            PictureReader(root, size, on_progress)
        ),
    )


def _all(splits: dict[str, list[Path]]) -> set[Path]:
    return {path for paths in splits.values() for path in paths}


def _files(root: Path) -> list[tuple[str, int, int]]:
    try:
        found = sorted(files_in(root))
    except OSError as error:
        raise UsageError(f"cannot read {str(root)!r}: {reason_of(error)}") from None
    return [file for file in found if file[0].endswith(".parquet")]


def _split(root: Path, part: str) -> list[Path]:
    """Return the files of a split, in the order of their names."""
    paths = [root / name for name, _, _ in _files(root)]
    for split in ("train",) if part == "train" else TEST_SPLITS:
        found = [
            path
            for path in paths
            if split == _word(path.name)
            or (path.parent != root and split == _word(path.parent.name))
        ]
        folders = sorted({str(path.parent) for path in found})
        if len(folders) > 1:
            raise UsageError(
                f"{str(root)!r} has several {split} splits, such as in {folders[0]!r} and "
                f"{folders[1]!r}; give the folder of one of them as --data-dir"
            )
        if found:
            return found
    raise UsageError(
        f"{str(root)!r} has no file {part}-….parquet or {part}/….parquet"
        + (f", only {', '.join(path.name for path in paths[:3])}" if paths else "")
    )


def _word(name: str) -> str:
    """Return the part of a name before the first of ``-``, ``_`` and ``.``."""
    return name.replace("_", "-").replace(".", "-").partition("-")[0].lower()


class _Reader:
    """Reads the splits of a data set; see ``parquet``."""

    def __init__(self, root: Path, splits: dict[str, list[Path]], image: str, label: str) -> None:
        self._root, self._splits, self._image, self._label = root, splits, image, label

    def read(self, reader: PictureReader) -> dict[str, Any]:
        """Return the content of a ``Source``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content: dict[str, Any] = {"flip": False}
        names = None
        try:
            for part, paths in self._splits.items():
                files = [pq.ParquetFile(path) for path in paths]
                for path, file in zip(paths, files, strict=True):
                    found = self._choose_columns(path, file.schema_arrow)
                    if found and names and found != names:
                        raise UsageError(f"{str(path)!r} has other classes than the files before")
                    names = names or found
                count = sum(file.metadata.num_rows for file in files)
                if count == 0:
                    raise UsageError(f"{str(paths[0])!r} has no rows")
                labels: list[Any] = []
                rows = self._rows(paths, files, labels)
                content[f"{part}_images"] = reader.read(count, rows)
                content[f"{part}_labels"] = np.concatenate(labels)
        except (pa.ArrowException, OSError) as error:
            folder = str(paths[0].parent)
            raise UsageError(f"cannot read {folder!r}: {message_of(error)}") from None
        train, test = content["train_labels"], content["test_labels"]
        classes = class_names(train, test, names)
        notes = [*missing_classes(train, classes), *reader.notes()]
        return {**content, "classes": classes, "notes": notes, "own_size": reader.own_size}

    def _choose_columns(self, path: Path, schema: Any) -> list[str] | None:
        """Choose the columns by a file's schema; return the names of the classes, if it has them.

        Raises:
            UsageError: there is no such column, or none or several that can be.
        """
        import pyarrow.types as kinds

        features = _features(schema)
        class_labels = [name for name, feature in features.items() if "names" in feature]
        images = [field.name for field in schema if _is_image(field.type)]
        integers = [field.name for field in schema if kinds.is_integer(field.type)]
        self._image = self._choice(path, "image", self._image, images)
        self._label = self._choice(path, "label", self._label, class_labels or integers, integers)
        names = features.get(self._label, {}).get("names")
        return list(map(str, names)) if names else None

    def _choice(
        self,
        path: Path,
        what: str,
        asked: str,
        candidates: Sequence[str],
        possible: Sequence[str] | None = None,
    ) -> str:
        possible = candidates if possible is None else possible
        if asked in possible:
            return asked
        if not asked and len(candidates) == 1:
            return candidates[0]
        kind = "encoded images" if what == "image" else "integers"
        shown = ", ".join(possible) or "none"
        if asked:
            raise UsageError(
                f"{str(path)!r} has no column {asked!r} of {kind}; columns of {kind}: {shown}"
            )
        raise UsageError(
            f"{str(path)!r} has {len(candidates)} columns of {kind} ({shown}); name one with "
            f"--dataset parquet:{what}=…"
        )

    def _rows(
        self, paths: Sequence[Path], files: Sequence[Any], labels: list[Any]
    ) -> Iterator[list[File]]:
        """Yield the images of each batch of rows; append its labels, int64 arrays, to a list."""
        for path, file in zip(paths, files, strict=True):
            start = 0
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=[self._image, self._label]):
                found = batch.column(self._label)
                if found.null_count:
                    raise UsageError(f"{str(path)!r} has rows without a {self._label}")
                labels.append(found.to_numpy(zero_copy_only=False).astype(np.int64))
                if labels[-1].min() < 0:
                    raise UsageError(
                        f"{str(path)!r} has the label {labels[-1].min()}; labels must be from 0"
                    )
                values = batch.column(self._image).to_pylist()
                yield [
                    (f"{path.name}, row {start + number}", _content(value, path, start + number))
                    for number, value in enumerate(values)
                ]
                start += len(values)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return the features that Hugging Face's writer describes in the schema, by column."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: value for name, value in described.items() if isinstance(value, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):  # not written by it
        return {}


def _is_image(kind: Any) -> bool:
    import pyarrow.types as kinds

    if kinds.is_struct(kind):
        return any(field.name == "bytes" and _is_image(field.type) for field in kind)
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


def _content(value: Any, path: Path, row: int) -> Any:
    """Return a function that returns the bytes of an image."""
    found = value.get("bytes") if isinstance(value, dict) else value
    if found is None:
        raise UsageError(f"{str(path)!r}, row {row}, has no bytes of an image")
    return lambda: found
