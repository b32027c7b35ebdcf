"""Does this activation really make my network better or more robust, by how much, am I sure?

``actbench.run(actbench.Study(...))`` runs a study and returns its results, ``actbench.load`` those
of a results folder; ``actbench.measure`` measures any PyTorch classifier. docs/api.md has examples.
The names are imported when they are first used, so that importing the package is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actbench.api.measuring import measure
    from actbench.api.results import Results, load
    from actbench.api.studies import claim_study, run
    from actbench.data.in_memory import arrays, from_dataset
    from actbench.models.swap import swap_activations
    from actbench.study.run_options import RunOptions
    from actbench.study.study import Study

__all__ = [
    "Results",
    "RunOptions",
    "Study",
    "arrays",
    "claim_study",
    "from_dataset",
    "load",
    "measure",
    "run",
    "swap_activations",
]
__version__ = "0.1.0"

_MODULES = {
    "Results": "actbench.api.results",
    "RunOptions": "actbench.study.run_options",
    "Study": "actbench.study.study",
    "arrays": "actbench.data.in_memory",
    "claim_study": "actbench.api.studies",
    "from_dataset": "actbench.data.in_memory",
    "load": "actbench.api.results",
    "measure": "actbench.api.measuring",
    "run": "actbench.api.studies",
    "swap_activations": "actbench.models.swap",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
