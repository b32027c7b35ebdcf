"""How notes of a record begin that documents show in a place of their own."""

from __future__ import annotations

REPLACED = "activations replaced: "
