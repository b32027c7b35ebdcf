"""The plan of interim analyses of a growing study, and the level of each.

The rule behind ``--until-decided``. A study that adds seeds one by one from 5 to 30, and tests at
5 % after each until something is significant, finds a difference for one of five equal activations
in about a quarter of all cases. Here 5 % is the total over all interim analyses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.05  # of every test; interim analyses share it


def interim_analyses(first: int, last: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which the study is analysed, rising, ending with ``last``.

    Each is about 1.5 times the one before: 5, 8, 13, 20, 30 for ``interim_analyses(5, 30)``.
    An analysis after every seed would save hardly any seeds, as neighbouring analyses use nearly
    the same data, and each needs a part of the level (docs/statistics.md has the comparison).

    Args:
        first: the seeds at the first analysis; 1 counts as 2, since a verdict needs two pairs.
        last: the most seeds the study may grow to, at least 2 and at least ``first``.

    Raises:
        ValueError: a number is out of range.
    """
    if not 1 <= first <= last or last < 2:
        raise ValueError(
            f"interim analyses from {first} to {last} seeds; they must be 1 <= first <= last >= 2"
        )
    first = max(first, 2)
    steps = [last]
    while (before := 2 * steps[-1] // 3) > first:
        steps.append(before)
    return tuple(sorted({first, *steps}))


def spending_level(n: int, times: Sequence[int]) -> float:
    """Return the level of the tests at the interim analysis after n seeds.

    Alpha spending after Lan & DeMets (1983): at n seeds, of a plan that ends with N, the share
    (n / N)² of ``LEVEL`` has been spent (Kim & DeMets 1987, the power family). An analysis may use
    what has been added since the one before.

    Guarantee: the levels of all analyses add up to ``LEVEL``. By the union bound, a test that errs
    with at most probability a at level a (for Holm's procedure: that errs for any activation in one
    metric) errs at any analysis, whatever ends the study, with at most probability ``LEVEL``. No
    assumption is made about how the analyses depend on each other, so this holds from two seeds on,
    for the difference test and for the equivalence test. The plan must be fixed beforehand: a
    longer one, chosen once the results are known, spends the level twice.

    Args:
        n: seeds so far, one of ``times``.
        times: the numbers of seeds of all analyses, rising, as ``interim_analyses`` gives them.

    Raises:
        ValueError: n is not in the plan.
    """
    if n not in times:
        raise ValueError(
            f"no interim analysis after {n} seeds; they are after {', '.join(map(str, times))}"
        )
    position = times.index(n)
    before = times[position - 1] if position else 0
    return LEVEL * (n**2 - before**2) / times[-1] ** 2
