"""Every derived file of a results folder: CSVs, documents and figures."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from actbench.analysis.stored_frames import read_frames
from actbench.report.figures.registry import FIGURES, figures
from actbench.report.figures.strip import STRIP, corruption_strip
from actbench.report.figures.style import to_png, to_svg
from actbench.report.html import to_html
from actbench.report.latex import summary_latex
from actbench.report.markdown import summary_markdown
from actbench.report.samples import SAMPLES_FILE, samples_from_png
from actbench.report.summary import SUMMARY_FILE, summary_of
from actbench.report.tables import to_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from actbench.analysis.frames import Frames
    from actbench.store.store import Store
    from actbench.study.study import Study

OF_SOME = ("replication.csv", "tuning_studies.csv")
# the frames that are files of their own in a results folder
CSV_TABLES = (
    "trials",
    "corruptions",
    "gradients",
    "attacks",
    "mechanism",
    "summary",
    "comparisons",
    "sensitivity",
    "corruption_differences",
    "class_summary",
)


def write_report(store: Store, study: Study) -> Frames:
    """Write every derived file of the folder, from its records, and return the frames.

    Raises:
        ResultsFolderError: no trial is stored, or a file cannot be written.
    """
    frames = read_frames(store, study)
    write_documents(store, frames)
    return frames


def write_documents(store: Store, frames: Frames) -> None:
    """Write every derived file of the folder, and remove those that the frames do not give.

    Raises:
        ResultsFolderError: a file cannot be written.
    """
    files = derived_files(frames)
    for name, text in files.items():
        store.write_text(name, text)
    for name in OF_SOME:
        if name not in files:
            store.remove(store.folder / name)
    pictures = {}
    for name, figure in all_figures(store, frames).items():
        pictures[name] = figure if isinstance(figure, str) else to_svg(figure)
        if not isinstance(figure, str):
            store.write_text(f"figures/{name}.svg", pictures[name])
            store.write_bytes(f"figures/{name}.png", to_png(figure))
    for name in (*FIGURES, STRIP):
        if not pictures.get(name, "").startswith("<svg"):
            for ending in ("svg", "png"):
                store.remove(store.folder / "figures" / f"{name}.{ending}")
    page = to_html(frames, pictures, store.environment(), version("actbench"))
    store.write_text("report.html", page)


def all_figures(store: Store, frames: Frames) -> dict[str, Figure | str]:
    """Return the study's figures, and the strip of corrupted images if the folder has them.

    In place of a figure that would show nothing is a sentence.
    """
    strip = figure_of(store, frames, STRIP)
    return {**figures(frames), STRIP: strip} if strip else figures(frames)


def figure_of(store: Store, frames: Frames, name: str) -> Figure | str | None:
    """Return one of ``all_figures``; None if the study has none of this name."""
    if name != STRIP:
        return FIGURES[name].target(frames) if name in FIGURES else None
    try:
        content = (store.folder / SAMPLES_FILE).read_bytes()
        samples = samples_from_png(content, frames.study.corruptions)
    except (OSError, ValueError):
        return None
    return corruption_strip(samples) if samples else None


def derived_files(frames: Frames) -> dict[str, str]:
    """Return every table of the results folder as text, by file name."""
    of_some = {"replication.csv": to_csv(frames.replication)} if frames.study.claim else {}
    if frames.retuned:
        of_some["tuning_studies.csv"] = to_csv(frames.tuning_studies)
    return {
        **of_some,
        **{f"{name}.csv": to_csv(getattr(frames, name)) for name in CSV_TABLES},
        "summary.md": summary_markdown(frames),
        "summary.tex": summary_latex(frames),
        SUMMARY_FILE: summary_of(frames).to_json(),
    }
