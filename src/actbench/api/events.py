"""The events of a run, as ``actbench.run(study, on_event=…)`` reports them.

Every event is an object of one of these frozen data classes, ``Event`` is their union. They come in
the process that calls ``run``, in the order in which they happen; those of concurrent trials are
interleaved. Later versions may add fields and events.
"""

from __future__ import annotations

from actbench.execution.events import Event, Finished, Planned, Retried, Stage
from actbench.training.events import Measuring, Note, Progress, Updated

__all__ = [
    "Event",
    "Finished",
    "Measuring",
    "Note",
    "Planned",
    "Progress",
    "Retried",
    "Stage",
    "Updated",
]
