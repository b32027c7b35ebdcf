"""Parquet files as Hugging Face publishes image data sets."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actbench.data import parquet as module
from actbench.data.images import open_images, prepare
from actbench.errors import UsageError
from helpers.made_images import encoded, four_arrays, noise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


X, Y, X_TEST, Y_TEST = four_arrays()
NAMES = ["cat", "dog", "eel"]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def features(**labels: Sequence[str]) -> dict[str, Any]:
    """Return the description that Hugging Face's writer stores."""
    described = {name: {"names": names, "_type": "ClassLabel"} for name, names in labels.items()}
    return {"info": {"features": {"img": {"_type": "Image"}, **described}}}


def write(
    path: Path,
    x: Any,
    y: Any,
    *,
    image: str = "img",
    label: str = "label",
    described: dict[str, Any] | None = None,
    **more: Any,
) -> None:
    values = [{"bytes": encoded(picture), "path": None} for picture in x]
    columns = {image: pa.array(values, IMAGE), label: pa.array(y), **more}
    table = pa.table(columns)
    if described is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def cifar(root: Path, **options: Any) -> str:
    """Write a miniature of Hugging Face's CIFAR-10; the training images are in two files."""
    options = {"described": features(label=NAMES), **options}
    for number, part in enumerate((slice(0, 7), slice(7, None))):
        write(root / f"plain_text/train-0000{number}-of-00002.parquet", X[part], Y[part], **options)
    write(root / "plain_text/test-00000-of-00001.parquet", X_TEST, Y_TEST, **options)
    return str(root)


def test_images_labels_and_names_are_those_of_the_files(tmp_path: Path) -> None:
    data = open_images(prepare("parquet", cifar(tmp_path)))
    assert np.array_equal(data.train_images.numpy(), X)
    assert np.array_equal(data.test_images.numpy(), X_TEST)
    assert data.train_labels.tolist() == Y.tolist()
    assert data.test_labels.tolist() == Y_TEST.tolist()
    assert data.classes == tuple(NAMES)
    assert data.notes == ()
    assert data.own_size == 32
    assert open_images(prepare("parquet", str(tmp_path / "plain_text"), 48)).image_size == 48


def test_many_rows_are_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_PER_BATCH", 5)
    data = open_images(prepare("parquet", cifar(tmp_path)))
    assert np.array_equal(data.train_images.numpy(), X)
    assert data.train_labels.tolist() == Y.tolist()


def test_other_layouts_are_found(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0000.parquet", X, Y, image="image")
    write(tmp_path / "validation" / "0000.parquet", X_TEST, Y_TEST, image="image")
    data = open_images(prepare("parquet", str(tmp_path)))
    assert data.classes == ("0", "1", "2")
    assert len(data.test_images) == 6
    # a test split is preferred to a validation split
    write(tmp_path / "test" / "0000.parquet", X_TEST[:3], Y_TEST[:3], image="image")
    assert len(open_images(prepare("parquet", str(tmp_path))).test_images) == 3


def test_the_bytes_may_be_a_column(tmp_path: Path) -> None:
    for part, x, y in (("train", X, Y), ("test", X_TEST, Y_TEST)):
        table = pa.table({"png": pa.array([encoded(a) for a in x], pa.large_binary()), "y": y})
        pq.write_table(table, tmp_path / f"{part}.parquet")
    assert np.array_equal(open_images(prepare("parquet", str(tmp_path))).train_images.numpy(), X)


def test_the_label_is_chosen_by_name_if_there_are_several(tmp_path: Path) -> None:
    coarse = ["pet", "fish"]
    options = {"label": "fine_label", "described": features(fine_label=NAMES, coarse_label=coarse)}
    write(tmp_path / "train.parquet", X, Y, coarse_label=pa.array(Y % 2), **options)
    write(tmp_path / "test.parquet", X_TEST, Y_TEST, coarse_label=pa.array(Y_TEST % 2), **options)
    with pytest.raises(UsageError, match=r"2 columns of integers .*--dataset parquet:label=…"):
        prepare("parquet", str(tmp_path))
    fine = open_images(prepare("parquet:label=fine_label", str(tmp_path)))
    assert fine.classes == tuple(NAMES)
    other = open_images(prepare("parquet:label=coarse_label,image=img", str(tmp_path)))
    assert other.classes == tuple(coarse)
    assert other.train_labels.tolist() == (Y % 2).tolist()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    before = prepare("parquet", cifar(tmp_path))
    assert prepare("parquet", str(tmp_path)) == before
    write(tmp_path / "plain_text/test-00000-of-00001.parquet", noise(6, seed=9), Y_TEST)
    assert prepare("parquet", str(tmp_path)) != before


def damaged(root: Path, content: bytes) -> None:
    cifar(root)
    (root / "plain_text/test-00000-of-00001.parquet").write_bytes(content)


def with_test(root: Path, x: Any = X_TEST, y: Any = Y_TEST, **options: Any) -> None:
    cifar(root)
    write(root / "plain_text/test-00000-of-00001.parquet", x, y, **options)


def no_bytes(root: Path) -> None:
    cifar(root)
    values = pa.array([{"bytes": None, "path": "a.png"}] * 6, IMAGE)
    path = root / "plain_text/test-00000-of-00001.parquet"
    pq.write_table(pa.table({"img": values, "label": Y_TEST}), path)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda root: None, "has no file train-….parquet or train/….parquet"),
    "no test": (
        lambda root: write(root / "train.parquet", X, Y),
        "has no file test-….parquet or test/….parquet, only train.parquet",
    ),
    "two sets": (
        lambda root: (cifar(root), write(root / "b" / "train-0.parquet", X, Y)),
        "has several train splits, such as in '.*b' and '.*plain_text'; give the folder",
    ),
    "damaged": (lambda root: damaged(root, b"PAR1" + bytes(99)), "cannot read '.*plain_text': "),
    "empty file": (lambda root: damaged(root, b""), "cannot read '.*plain_text': "),
    "no rows": (lambda root: with_test(root, X_TEST[:0], pa.array([], pa.int64())), "has no rows"),
    "no images": (
        lambda root: (
            pq.write_table(pa.table({"label": Y}), root / "train.parquet")
            or pq.write_table(pa.table({"label": Y}), root / "test.parquet")
        ),
        r"has 0 columns of encoded images \(none\)",
    ),
    "no bytes": (no_bytes, "row 0, has no bytes of an image"),
    "a bad image": (lambda root: bad_image(root), r"test-0.*\.parquet, row 5' is not an image in"),
    "a label missing": (
        lambda root: with_test(root, y=pa.array([0, 1, None, 0, 1, 2])),
        "has rows without a label",
    ),
    "texts as labels": (
        lambda root: with_test(root, y=["a"] * 6),
        "has no column 'label' of integ",
    ),
    "a negative label": (lambda root: with_test(root, y=Y_TEST - 1), "has the label -1"),
    "a large label": (lambda root: with_test(root, y=Y_TEST + 1), "y_test has the label 3; with 3"),
    "other classes": (
        lambda root: with_test(root, described=features(label=["dog", "cat", "eel"])),
        "has other classes than the files before",
    ),
    "two sizes": (
        lambda root: with_test(root, noise(6, 64)),
        "is 64×64 pixels and 'train-0.*32×32",
    ),
}


def bad_image(root: Path) -> None:
    cifar(root)
    values = [{"bytes": encoded(x), "path": None} for x in X_TEST[:5]]
    column = pa.array([*values, {"bytes": b"no image", "path": None}], IMAGE)
    path = root / "plain_text/test-00000-of-00001.parquet"
    pq.write_table(pa.table({"img": column, "label": Y_TEST}), path)


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_one_line_that_names_what_is_wrong(fault: str, tmp_path: Path) -> None:
    make, message = BAD[fault]
    make(tmp_path)
    with pytest.raises(UsageError, match=message) as error:
        prepare("parquet", str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_wrong_column_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    cifar(tmp_path)
    with pytest.raises(
        UsageError, match="has no column 'x' of integers; columns of integers: label"
    ):
        prepare("parquet:label=x", str(tmp_path))
    with pytest.raises(
        UsageError, match="has no column 'x' of encoded images; columns of encoded i"
    ):
        prepare("parquet:image=x", str(tmp_path))
    with pytest.raises(UsageError, match="dataset 'parquet' needs --data-dir"):
        prepare("parquet")


def test_without_pyarrow_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"needs pyarrow, .*pip install 'actbench\[parquet\]'"):
        prepare("parquet", str(tmp_path))
