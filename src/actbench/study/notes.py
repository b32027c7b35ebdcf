"""The beginnings of those notes of a record that documents show separately."""

from __future__ import annotations

REPLACED = "activations replaced: "
