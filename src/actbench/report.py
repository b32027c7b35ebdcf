"""The derived files of a results folder, always made from its stored records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.figure_style import to_png, to_svg
from actbench.figures import FIGURES, STRIP, corruption_strip, figures
from actbench.frames import read_frames
from actbench.page import to_html
from actbench.samples import SAMPLES_FILE, samples_from_png
from actbench.tables import derived_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.frames import Frames
    from actbench.store import Store
    from actbench.study import Study


def write_report(store: Store, study: Study) -> Frames:
    """Write every derived file of the folder and return the frames that they show.

    Figures of an earlier report that the records no longer give are removed.

    Raises:
        ResultsFolderError: no trial is stored, or a file cannot be written.
    """
    frames = read_frames(store, study)
    for name, text in derived_files(frames).items():
        store.write_text(name, text)
    drawn = all_figures(store, frames)
    svgs = {name: to_svg(figure) for name, figure in drawn.items()}
    for name, svg in svgs.items():
        store.write_text(f"figures/{name}.svg", svg)
        store.write_bytes(f"figures/{name}.png", to_png(drawn[name]))
    for name in {*FIGURES, STRIP} - set(drawn):
        for ending in ("svg", "png"):
            (store.folder / "figures" / f"{name}.{ending}").unlink(missing_ok=True)
    store.write_text("report.html", to_html(frames, svgs, store.environment()))
    return frames


def all_figures(store: Store, frames: Frames) -> dict[str, Figure]:
    """Return the study's figures, and the strip of corrupted images where a run stored them."""
    drawn = figures(frames)
    try:
        content = (store.folder / SAMPLES_FILE).read_bytes()
        samples = samples_from_png(content, frames.study.corruptions)
    except (OSError, ValueError):
        return drawn
    return {**drawn, STRIP: corruption_strip(samples)} if samples else drawn
