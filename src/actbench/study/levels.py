"""The severities of a corruption spec, as plain values."""

from __future__ import annotations

SEVERITIES = (1, 2, 3, 4, 5)


def severities(spec: str) -> tuple[int, ...]:
    """Return the severities, from 1, at which a corruption spec is measured."""
    return SEVERITIES
