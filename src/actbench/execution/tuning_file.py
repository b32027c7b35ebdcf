"""``tuning.csv``: each activation's validation results with each setting that was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from actbench.report.tables import to_csv

if TYPE_CHECKING:
    from actbench.store.store import Store
    from actbench.study.study import Study

TUNING_FILE = "tuning.csv"
_NOT_OF_A_GRID = ["study", "trial", "weight_decay"]


def write_tuning_file(store: Store, study: Study, table: pd.DataFrame) -> None:
    """Store the rows of a ``choice_table``, after stored ones of activations that it has not.

    Settings are chosen for new activations only; the file keeps why the others have theirs. A grid
    is one study of rates only, so it lacks the columns about others.

    Raises:
        ResultsFolderError: see ``Store.write_bytes``.
    """
    if not len(table):
        return
    rows = table if study.tune else table.drop(columns=_NOT_OF_A_GRID)
    try:
        stored = pd.read_csv(store.folder / TUNING_FILE)
    except (OSError, ValueError):  # there is none, or it is damaged
        stored = rows[:0]
    if list(stored.columns) == list(rows.columns):
        others = stored[~stored["activation"].isin(rows["activation"])]
        rows = pd.concat([others, rows], ignore_index=True) if len(others) else rows
    store.write_text(TUNING_FILE, to_csv(rows))
