"""Compute only once what several documents of a report show."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.analysis.frames import Frames

T = TypeVar("T")


def once(compute: Callable[[Frames], tuple[T, ...]]) -> Callable[[Frames], tuple[T, ...]]:
    """Return the function, with its results kept for as long as their frames are."""
    results: WeakKeyDictionary[Frames, tuple[T, ...]] = WeakKeyDictionary()

    @wraps(compute)
    def kept(frames: Frames) -> tuple[T, ...]:
        if frames not in results:
            results[frames] = compute(frames)
        return results[frames]

    return kept
