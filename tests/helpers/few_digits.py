"""The data set ``digits`` with fewer test images, which every run of the command predicts often.

``python -m helpers.few_digits`` is ``python -m actbench`` with them.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from actbench.data.datasets import DATASETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actbench.data.folders import Source
    from actbench.study.registry import Entry

ALL_DIGITS = DATASETS["digits"]
TEST_IMAGES = 40


def _few_digits(dataset: str, data_dir: str) -> Source:
    """Return the data set with its training images and four test images of each class."""
    source = ALL_DIGITS.target(dataset, data_dir)

    def read(size: int, on_progress: Any) -> dict[str, Any]:
        content = source.read(size, on_progress)
        labels = content["test_labels"]
        kept = [np.flatnonzero(labels == label)[: TEST_IMAGES // 10] for label in np.unique(labels)]
        few = np.sort(np.concatenate(kept))
        content |= {name: content[name][few] for name in ("test_images", "test_labels")}
        return content

    assert source.fingerprint is not None
    fingerprint = f"{source.fingerprint()}, {TEST_IMAGES} test images"
    return replace(source, fingerprint=lambda: fingerprint, read=read)


FEW_DIGITS = replace(ALL_DIGITS, target=_few_digits)


@contextmanager
def digits_are(entry: Entry[Any]) -> Iterator[None]:
    """Let ``digits`` be ``FEW_DIGITS`` or ``ALL_DIGITS`` in this process and its forks."""
    before = DATASETS["digits"]
    DATASETS["digits"] = entry
    try:
        yield
    finally:
        DATASETS["digits"] = before


if __name__ == "__main__":
    from actbench.cli.main import main

    with digits_are(FEW_DIGITS):
        main()
