"""One test image under each corruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from actbench.report.figures.style import (
    figure_style,
    fix_layout,
    new_figure,
    shorten,
)
from actbench.study.levels import has_levels, level_axis, panel_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray


STRIP = "corruptions"


def corruption_strip(
    images: Mapping[tuple[str, int], NDArray[np.uint8]],
    title: str = "One test image under each corruption",
) -> Figure:
    """Return one image under each corruption (down) and severity or level (across).

    Args:
        images: uint8 of shape (S, S, 3) by corruption and severity; severity 0 is the clean image.
        title: shown above.
    """
    names = list(dict.fromkeys(name for name, _ in images))
    columns = 1 + max(level for _, level in images)
    alike = not any(map(has_levels, names))
    side, _, _ = next(iter(images.values())).shape
    gap = max(2, side // 10)
    pitch, down = side + gap, side + (gap if alike else side // 3)
    mosaic = np.zeros((down * len(names), pitch * columns, 4), dtype=np.uint8)
    for (name, level), image in images.items():
        y, x = down * names.index(name), pitch * level
        mosaic[y : y + side, x : x + side] = np.dstack([image, np.full((side, side), 255)])
    with figure_style():
        height = 0.65 + (0.95 if alike else 1.2) * len(names)
        figure = new_figure(STRIP, title, height)
        axes = figure.subplots()
        axes.imshow(mosaic[: side - down, : side - pitch], interpolation="none")
        middles = [pitch * i + side / 2 for i in range(columns)]
        headers = ["clean", *(f"severity {level}" for level in range(1, columns))]
        axes.set_xticks(middles if alike else middles[:1], headers if alike else headers[:1])
        rows = [down * i + side / 2 for i in range(len(names))]
        axes.set_yticks(rows, [shorten(panel_label(name)) for name in names])
        if not alike:
            for name, level in images:
                if level:
                    label, values = level_axis(name)
                    value = values[level - 1]
                    named = f"severity {value}" if label == "severity" else f"{label} = {value}"
                    text = shorten(value if "," in label else named, 14)
                    bottom = down * names.index(name) + side
                    axes.text(middles[level], bottom, text, ha="center", va="top", fontsize=6)
        axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
        axes.grid(visible=False)
        axes.set_frame_on(False)
        return fix_layout(figure)
