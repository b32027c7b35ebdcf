"""Copy what a reader opens of a results folder, its records in one archive, for publication.

python tools/publish.py FOLDER DEST

``actbench report DEST`` builds everything again from the copy: the figures that are left out, too.
"""

from __future__ import annotations

import argparse
import shutil
import zipfile
from pathlib import Path

from actbench.files import atomic_write
from actbench.store.record_files import TRIALS_ARCHIVE
from actbench.store.store import Store

FILES = ("study.toml", "environment.json", "summary.md", "summary.json", "report.html")
EARLIEST_TIME = (1980, 1, 1, 0, 0, 0)  # of a zip archive
FIGURES = ("differences.png", "severity.png")


def publish(folder: Path, destination: Path) -> None:
    """Copy the published files of a results folder to a new folder.

    Raises:
        ResultsFolderError: it is not a results folder.
        FileExistsError: the destination exists.
    """
    Store(folder).study()
    destination.mkdir(parents=True)
    tables = sorted(path.name for path in folder.glob("*.csv"))
    figures = [f"figures/{name}" for name in FIGURES]
    for name in (*FILES, "samples.png", *tables, *figures):
        if (folder / name).exists():
            (destination / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, destination / name)
    pack(folder, destination / TRIALS_ARCHIVE)


def pack(folder: Path, archive: Path) -> None:
    """Write all records of a results folder to an archive, the same bytes for the same records."""
    files = Store(folder).record_files
    with atomic_write(archive) as file, zipfile.ZipFile(file, "w") as packed:
        for path in sorted(files.folder.glob("*.json")):
            entry = zipfile.ZipInfo(path.name, EARLIEST_TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("destination", type=Path)
    asked = parser.parse_args()
    publish(asked.folder, asked.destination)


if __name__ == "__main__":
    main()
