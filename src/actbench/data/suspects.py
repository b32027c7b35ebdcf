"""Signs that images and labels do not match."""

from __future__ import annotations

import hashlib
from typing import Any

from actbench.errors import UsageError


def suspect_images(arrays: dict[str, Any], classes: list[str]) -> list[str]:
    """Return a sentence for each sign that images and labels do not match.

    Raises:
        UsageError: all training images are the same.
    """
    size = arrays["train_images"].shape[1]
    labels_of: dict[bytes, set[int]] = {}
    constant, count, seen_in_training = 0, 0, 0
    training: set[bytes] = set()
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        count += len(images)
        for image, label in zip(images, labels.tolist(), strict=True):
            digest = hashlib.sha256(image.tobytes()).digest()
            labels_of.setdefault(digest, set()).add(label)
            seen_in_training += digest in training
            constant += bool((image == image[0, 0]).all())
        if part == "train" and len(labels_of) == 1:
            raise UsageError(
                f"all {count} training images are the same picture when read as {size}×{size} "
                "pixels; there is nothing to learn"
            )
        if part == "train":
            training = set(labels_of)
    notes = []
    shared = [sorted(labels) for labels in labels_of.values() if len(labels) > 1]
    if shared:
        first, second = (classes[label] for label in shared[0][:2])
        pictures = "picture is" if len(shared) == 1 else "pictures are"
        notes.append(
            f"{len(shared)} {pictures} in more than one class, pixel by pixel, such as in "
            f"{first!r} and {second!r}"
        )
    if seen_in_training:
        notes.append(
            f"{seen_in_training} of {len(arrays['test_images'])} test images are identical to "
            "training images, pixel by pixel"
        )
    if constant:
        notes.append(f"{constant} of {count} images have only one colour")
    return notes
