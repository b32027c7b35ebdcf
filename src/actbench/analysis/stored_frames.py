"""A results folder → the data frames of its study."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from actbench.analysis.frames import Frames
from actbench.analysis.trial_results import results_in, stored_results
from actbench.store.tuning import tuning_store

if TYPE_CHECKING:
    from actbench.store.store import Store
    from actbench.study.study import Study


def read_frames(store: Store, study: Study) -> Frames:
    """Return the frames of the study's stored records.

    Raises:
        ResultsFolderError: no trial is stored, or a record cannot be read.
    """
    return Frames(**stored_parts(store, study))


def stored_parts(store: Store, study: Study) -> dict[str, Any]:
    """Return the arguments of ``Frames`` for the study's stored records.

    The frames with the settings of further tuning studies end before the first one of which no
    trial is stored.

    Raises:
        ResultsFolderError: no trial is stored, or a record cannot be read.
    """
    within = tuning_store(store)
    further = ((other, results_in(within, other)) for other in study.retuned)
    return {
        "study": study,
        "records": stored_results(store, study),
        "environments": store.environment()["environments"],
        "retuned": [
            Frames(other, results)
            for other, results in itertools.takewhile(lambda pair: pair[1], further)
        ],
    }
