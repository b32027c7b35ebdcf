"""The contact sheet: every corruption of one image, in a PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from actbench.corruptions.registry import CORRUPTIONS
from actbench.report.contact_sheet import image_to_show

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from helpers.runs import Outcome


def test_without_an_image_a_photograph_is_shown() -> None:
    image = image_to_show(None, 32)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    assert image.std() > 30


def test_a_users_image_is_shown_at_the_networks_size(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[:, 30:] = (255, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    done = actbench_here("show-corruptions", "mine.png", "--out", "sheet.png")
    assert done.code == 0, done.err
    assert "sheet.png" in done.out
    sheet = Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())).convert("RGB")
    assert sheet.height > 100 * len(CORRUPTIONS)
    shown = np.asarray(sheet)
    # the clean image of every row, and its brighter, blurred or compressed versions
    assert (shown == (255, 0, 255)).all(axis=2).mean() > 0.05


def test_levels_and_a_corruption_of_ones_own_are_shown(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "mine.py").write_text(
        "def red(images, severity, generator):\n"
        "    images = images.clone()\n"
        "    images[:, 0] = 1\n"
        "    images[:, 1:] = 0\n"
        "    return images\n"
    )
    names = "./mine.py:red,jpeg_compression:quality=90/5"
    done = actbench_here("show-corruptions", "--corruptions", names, "--out", "sheet.png")
    assert done.code == 0, done.err
    shown = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    red = (shown == (255, 0, 0)).all(axis=2)
    assert red.any()
    top = shown[: shown.shape[0] // 2]
    assert red[: len(top)].sum() == red.sum()  # the first row, all five severities
    for wrong, message in (("none", "no corruption to show"), ("fig", "did you mean 'fog'?")):
        done = actbench_here("show-corruptions", "--corruptions", wrong)
        assert done.code == 2
        assert message in done.err


def test_a_file_that_is_not_an_image_is_a_usage_error(
    tmp_path: Path, actbench_here: Callable[..., Outcome]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    done = actbench_here("show-corruptions", "text.png")
    assert done.code == 2
    assert "is not an image in a supported format" in done.err
    assert not (tmp_path / "corruptions.png").exists()
    missing = actbench_here("show-corruptions", "none.png")
    assert missing.code == 2
    assert missing.err.endswith("cannot read the image 'none.png': No such file or directory\n")


def test_a_place_that_cannot_be_written_is_a_usage_error(
    actbench_here: Callable[..., Outcome],
) -> None:
    fog = ("show-corruptions", "--corruptions", "fog")
    done = actbench_here(*fog, "--out", "absent/sheet.png")
    assert done.code == 2
    assert "cannot write 'absent/sheet.png'" in done.err
