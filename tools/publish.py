"""Copy the files of a results folder that readers open, with its records in one archive.

    python tools/publish.py FOLDER DESTINATION [--no-report] [--weights]

Without ``--weights``, a measurement that is added to the copy trains its trials again.
``actbench report DESTINATION`` builds everything again from the copy, including all figures.
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from pathlib import Path

from PIL import Image

from actbench.files.atomic import atomic_write
from actbench.store.record_files import TRIALS_ARCHIVE
from actbench.store.store import Store
from actbench.study.levels import level_labels

FILES = ("study.toml", "environment.json", "summary.md")
REPORT = ("report.html", "summary.tex")  # the page has a link to the other
COLOURS = 128  # for lines, bands and their blended edges
EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest time in a zip archive


def publish(
    folder: Path, destination: Path, *, with_report: bool, with_weights: bool = False
) -> None:
    """Copy the published files of a results folder to a new folder.

    Raises:
        ResultsFolderError: it is not a results folder.
        FileExistsError: the destination exists.
    """
    study = Store(folder).study()
    destination.mkdir(parents=True)
    tables = sorted(path.name for path in folder.glob("*.csv"))
    for name in (*FILES, *tables, *(REPORT if with_report else ())):
        if (folder / name).exists():
            shutil.copyfile(folder / name, destination / name)
    graded = any(len(level_labels(name)) > 1 for name in study.corruptions)
    for name in ("differences.png", "severity.png") if graded else ("differences.png",):
        if (folder / "figures" / name).exists():
            (destination / "figures").mkdir(exist_ok=True)
            shrink(folder / "figures" / name, destination / "figures" / name)
    pack(folder, destination / TRIALS_ARCHIVE)
    if with_weights:
        weights = Store(folder).weights
        shutil.copytree(weights, destination / weights.name, copy_function=shutil.copyfile)


def shrink(figure: Path, destination: Path) -> None:
    """Rewrite a PNG with a palette, which takes a third of the space."""
    with Image.open(figure) as image:
        few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(destination, optimize=True)


def pack(folder: Path, archive: Path) -> None:
    """Write all records of a results folder to an archive, the same bytes for the same records."""
    files = Store(folder).record_files
    records: dict[str, bytes] = {}
    if files.archive.exists():  # the folder was published before
        with zipfile.ZipFile(files.archive) as earlier:
            records = {name: earlier.read(name) for name in earlier.namelist()}
    records |= {path.name: path.read_bytes() for path in files.folder.glob("*.json")}
    with atomic_write(archive) as file, zipfile.ZipFile(file, "w") as packed:
        for name in sorted(records):
            entry = zipfile.ZipInfo(name, EARLIEST_TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, records[name], zipfile.ZIP_DEFLATED, compresslevel=9)


def main() -> None:
    """Read the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--no-report", action="store_true", help="leave out report.html")
    parser.add_argument("--weights", action="store_true", help="copy the trained weights too")
    asked = parser.parse_args()
    publish(
        asked.folder,
        asked.destination,
        with_report=not asked.no_report,
        with_weights=asked.weights,
    )


if __name__ == "__main__":
    main()
