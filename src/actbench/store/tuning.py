"""Where a results folder keeps the trials by which learning rates and weight decays are chosen."""

from __future__ import annotations

from actbench.store.store import Store

TUNING_FOLDER = "tuning"


def tuning_store(store: Store) -> Store:
    """Return the store of the tuning trials, and of those with the settings of further studies."""
    return Store(store.folder / TUNING_FOLDER, within=store)
