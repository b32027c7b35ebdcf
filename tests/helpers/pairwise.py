"""Combinations of settings that have every pair of values at least once."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def pairwise(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return rows, each a value by name, in which every two values of two names occur together.

    Each row starts from a pair that is missing, and takes for each other name the value with the
    most missing pairs: a greedy search that always gives the same rows.
    """
    names = list(values)
    missing = {
        ((a, i), (b, j))
        for a, b in combinations(names, 2)
        for i, j in product(range(len(values[a])), range(len(values[b])))
    }
    rows = []
    while missing:
        row = dict(min(missing, key=lambda pair: [(names.index(n), i) for n, i in pair]))
        for name in names:
            if name not in row:
                gains = [
                    sum(_pair(names, (name, index), other) in missing for other in row.items())
                    for index in range(len(values[name]))
                ]
                row[name] = gains.index(max(gains))
        missing -= {_pair(names, *pair) for pair in combinations(row.items(), 2)}
        rows.append({name: values[name][row[name]] for name in names})
    return rows


def _pair(names: list[str], *pair: tuple[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(pair, key=lambda item: names.index(item[0])))
