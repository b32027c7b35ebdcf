"""A user's modules in files, and a small study that imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LEAKY = "import torch\n\ndef act(x):\n    return torch.where(x > 0, x, 0.1 * x)\n"
SMALL = ("--train-images", "64", "--epochs", "1", "--seeds", "1", "--corruptions", "none")


def write(folder: Path, **files: str) -> None:
    """Write modules: the name of each, without .py, and its source."""
    for name, source in files.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
