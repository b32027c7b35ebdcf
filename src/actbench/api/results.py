"""The results of a study in Python, from its results folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actbench.analysis.frames import Frames
from actbench.analysis.stored_frames import stored_parts
from actbench.errors import UsageError, did_you_mean
from actbench.files.atomic import atomic_write, expanded
from actbench.report.sentences import verdict_sentences
from actbench.report.tables import rounded
from actbench.report.warnings import study_warnings
from actbench.report.write import CSV_TABLES
from actbench.store.store import Store

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from matplotlib.figure import Figure
    from torch import nn

FRAMES = (*CSV_TABLES, "epochs", "inactive", "variance", "classes")
"""The names of all data frames of ``Results``; the first ones are CSV files as well."""


class Results(Frames):
    """The results of a study as data frames, read from a results folder.

    Each frame is computed when it is first used. Accuracies, errors and shares are fractions in
    [0, 1]; gradient norms are L2 norms. A trial that diverged or crashed keeps its row in
    ``trials``, without measurements.

    Attributes:
        folder: the results folder.
        study: the study, every name in it resolved.
        records: the results of the stored trials, activation by activation in the study's order.
        environments: the entries of ``environment.json``.
    """

    def __init__(self, folder: Path) -> None:
        """Read the folder's records.

        Raises:
            ResultsFolderError: it is no results folder, or holds no finished trial.
        """
        store = Store(folder)
        super().__init__(**stored_parts(store, store.study()))
        self.folder = folder

    @property
    def verdicts(self) -> list[str]:
        """A sentence or two per activation other than the baseline, with its verdicts."""
        return verdict_sentences(self)

    @property
    def warnings(self) -> list[str]:
        """The warnings before the verdicts: networks at chance, lost trials, outliers."""
        return list(study_warnings(self))

    def plot(self, name: str) -> Figure:
        """Return a figure, newly drawn, such as ``severity``, ``differences`` or ``slope``.

        Raises:
            UsageError: there is no such figure, or this study has no data for it.
        """
        from actbench.report.figures.registry import FIGURES
        from actbench.report.figures.strip import STRIP
        from actbench.report.write import figure_of

        if not isinstance(name, str):
            raise UsageError(f"the name of a figure is {name!r}; it must be a text")
        figure = figure_of(Store(self.folder), self, name)
        if figure is None:
            known = [*FIGURES, STRIP]
            hint = "" if name in known else did_you_mean(name, known)
            raise UsageError(f"this study has no figure {name!r}{hint}")
        if isinstance(figure, str):
            raise UsageError(f"this study has no figure {name!r}: {figure}")
        return figure

    def network(self, activation: str, *, seed: int) -> nn.Module:
        """Return the trained network of a trial, on the CPU and in evaluation mode.

        It takes float32 images (N, 3, S, S) whose pixels in [0, 1] were normalised with mean 0.5
        and standard deviation 0.5, and returns logits (N, classes).

        Raises:
            UsageError: the study has no such trial, or it diverged or crashed.
            ResultsFolderError: it is not trained yet, or its weights were not kept or are damaged.
        """
        from actbench.training.trained import trained_network

        return trained_network(Store(self.folder), self.study, activation, seed)

    def to_parquet(self, folder: str | os.PathLike[str]) -> None:
        """Write each data frame to ``<frame>.parquet`` in a folder, which is created.

        The frames are those of ``FRAMES``. Numbers are those of the CSV files of the results
        folder, to the bit; texts are without their protection against spreadsheets.

        Raises:
            UsageError: pyarrow is not installed, or a file cannot be written.
        """
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UsageError(
                "to_parquet needs pyarrow, which is not installed; "
                "pip install 'actbench[parquet]' installs it"
            ) from None
        target = expanded(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name in FRAMES:
                with atomic_write(target / f"{name}.parquet") as file:
                    rounded(getattr(self, name)).to_parquet(file, index=False)
        except OSError as error:
            raise UsageError(f"cannot write to {str(folder)!r}: {error.strerror}") from None

    def _repr_html_(self) -> str:
        """Return the answer as a table, with the warnings, for a notebook."""
        from actbench.report.html import to_notebook

        return to_notebook(self, self.folder)

    def __repr__(self) -> str:
        study, stored, planned = self.study, len(self.records), len(self.study.trials())
        return (
            f"<Results of {study.data_label}, {study.model}: {stored} of {planned} trials, "
            f"in {str(self.folder)!r}>"
        )


def load(folder: str | os.PathLike[str]) -> Results:
    """Return the results in a folder, finished or not; nothing is run.

    Raises:
        ResultsFolderError: it is no results folder, or holds no finished trial.
    """
    return Results(expanded(folder))
