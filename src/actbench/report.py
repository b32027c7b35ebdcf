"""The derived files of a results folder, always made from its stored records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.frames import read_frames
from actbench.tables import derived_files

if TYPE_CHECKING:
    from actbench.frames import Frames
    from actbench.store import Store
    from actbench.study import Study


def write_report(store: Store, study: Study) -> Frames:
    """Write every derived file of the folder and return the frames that they show.

    Raises:
        ResultsFolderError: no trial is stored, or a file cannot be written.
    """
    frames = read_frames(store, study)
    for name, text in derived_files(frames).items():
        store.write_text(name, text)
    return frames
