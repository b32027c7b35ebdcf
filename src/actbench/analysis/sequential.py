"""When to look at a growing study, and at what level, so that looking often costs no false alarms.

The rule behind ``--until-decided``. A study that adds seeds and tests at 5 % after each of them
from 5 to 30, until something is significant, calls one of five equal activations better or worse
in about a quarter of all cases. Here the 5 % are an allowance that is spent over the looks.
"""

from __future__ import annotations


def interim_analyses(first: int, last: int) -> tuple[int, ...]:
    """Return the numbers of seeds after which to look, in rising order, ending with ``last``.

    Each is about half as many again as the one before: 5, 8, 13, 20, 30 for ``looks(5, 30)``.
    Looking after every seed saves next to no seeds, as neighbouring looks see nearly the same
    data, and each must be paid for (docs/statistics.md has the comparison).

    Args:
        first: the seeds at the first look; 1 counts as 2, since a verdict needs two pairs.
        last: the most seeds the study may grow to, at least 2 and at least ``first``.

    Raises:
        ValueError: a number is out of range.
    """
    if not 1 <= first <= last or last < 2:
        raise ValueError(f"looks from {first} to {last}; needed is 1 <= first <= last, last >= 2")
    first = max(first, 2)
    steps = [last]
    while (before := 2 * steps[-1] // 3) > first:
        steps.append(before)
    return tuple(sorted({first, *steps}))


def spending_level(n: int, first: int, last: int, level: float = 0.05) -> float:
    """Return the level for the tests at the look after n seeds.

    Alpha spending after Lan & DeMets (1983): by the look after n of at most ``last`` seeds, the
    share (n / last)² of ``level`` has been spent (Kim & DeMets 1987, the power family). A look may
    use what has been added since the look before.

    Guarantee: the levels of all looks add up to ``level``. By the union bound, a test that errs
    with at most probability a at level a (for Holm's procedure: that errs for any activation in one
    metric) errs at any look, whatever ends the study, with at most probability ``level``. This
    leans on no approximation of how the looks depend on each other, and so holds from two seeds on,
    for the difference test and for the equivalence test alike. The looks must be fixed beforehand:
    raising ``last`` once the results are known spends the allowance twice.

    Args:
        n: seeds so far, one of ``looks(first, last)``.
        first: as for ``looks``.
        last: as for ``looks``.
        level: to spend in all.

    Raises:
        ValueError: n is not a look, or ``looks`` refuses the range.
    """
    times = interim_analyses(first, last)
    if n not in times:
        raise ValueError(
            f"no look after {n} seeds; the looks are after {', '.join(map(str, times))}"
        )
    place = times.index(n)
    before = times[place - 1] if place else 0
    return level * (n**2 - before**2) / last**2
