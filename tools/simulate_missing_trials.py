"""The error rates of studies with diverged or collapsed trials, as Markdown tables.

Run one of::

    python tools/simulate_missing_trials.py diverged
    python tools/simulate_missing_trials.py collapsed
    python tools/simulate_missing_trials.py cutoffs

The tables are in docs/statistics.md. ``--studies`` is the number of simulated studies for each row.
Accuracies are in points. Every study compares one activation with the baseline at the level 0.05.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special
from tabulate import tabulate

from actbench.analysis.paired import equivalence_p_value, paired_t
from actbench.analysis.sequential import LEVEL
from actbench.analysis.signed_rank import signed_rank
from actbench.analysis.trial_checks import far_from_others, robust_z

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MARGIN = 0.5
USUAL = 70.0  # accuracy of a trained network
CHANCE = 10.0
IMAGES = 10_000


def verdict(differences: Floats) -> str:
    """Return the verdict on differences (n,), NaN where a pair is left out."""
    kept = differences[np.isfinite(differences)]
    if len(kept) < 2:
        return "no verdict"
    if equivalence_p_value(kept, MARGIN) <= LEVEL:
        return "equivalent"
    test = paired_t(kept)
    if not test.p_value <= LEVEL:
        return "undecided"
    return "better" if test.difference > 0 else "worse"


def diverged(studies: int) -> list[list[str]]:
    """Return how often an activation without effect is called better, before and after scoring.

    Accuracies have a standard deviation of 1 point. The activation diverges on the 31 % of
    seeds on which it would have been worst.
    """
    rows = []
    for n in (5, 10, 20):
        for correlation in (0.0, 0.5):
            draw = np.random.default_rng([n, int(10 * correlation)])
            baseline = draw.standard_normal((studies, n))
            own = draw.standard_normal((studies, n))
            ours = correlation * baseline + math.sqrt(1 - correlation**2) * own
            lost = ours < special.ndtri(0.31)
            kept = [verdict(d) for d in np.where(lost, np.nan, ours - baseline)]
            scored = [verdict(d) for d in np.where(lost, CHANCE - USUAL, ours) - baseline]
            both = [one for one, other in zip(kept, scored, strict=True) if one == other]
            shares = [
                kept.count("better"),
                *(scored.count(word) for word in ("better", "undecided", "worse")),
                both.count("better"),
            ]
            rows.append([f"{n}", f"{correlation}", *(f"{100 * s / studies:.1f}" for s in shares)])
    return rows


def collapsed(studies: int) -> list[list[str]]:
    """Return how often a true gain of 2 points (sd 0.5) is found if trials end at chance."""
    rows = []
    for share in (0.0, 0.02, 0.05):
        for n in (6, 10, 20):
            draw = np.random.default_rng([n, int(1000 * share)])
            baseline = USUAL + draw.standard_normal((studies, n))
            ours = baseline + 2 + 0.5 * draw.standard_normal((studies, n))
            fallen = draw.uniform(size=(2, studies, n)) < share
            baseline = np.where(fallen[0], CHANCE, baseline)
            ours = np.where(fallen[1], CHANCE, ours)
            by_t = [verdict(d) == "better" for d in ours - baseline]
            ranks = [signed_rank(d) for d in ours - baseline]
            by_ranks = [test.p_value <= LEVEL and test.sign > 0 for test in ranks]
            flags = np.array(
                [np.isfinite(far_from_others(activation / 100, IMAGES)) for activation in ours]
            )
            found = flags[fallen[1]].mean() if fallen[1].any() else math.nan
            shares = (np.mean(by_t), np.mean(by_ranks), found, flags[~fallen[1]].mean())
            rows.append(
                [
                    f"{100 * share:.0f}",
                    f"{n}",
                    *("–" if math.isnan(value) else f"{100 * value:.1f}" for value in shares),
                ]
            )
    return rows


def cutoffs(studies: int) -> list[list[str]]:
    """Return the quantiles of the largest robust z among n normal values."""
    rows = []
    for n in (5, 6, 7, 8, 10, 15, 20, 30, 50):
        draw = np.random.default_rng(n)
        largest = np.array(
            [np.abs(robust_z(draw.standard_normal(n))).max() for _ in range(studies)]
        )
        usual = 100 * (largest > 3.5).mean()
        rows.append([f"{n}", f"{usual:.1f}", f"{np.quantile(largest, 0.99):.1f}"])
    return rows


HEADERS = {
    "diverged": [
        "seeds",
        "pair correlation",
        "better, left out, %",
        "better, scored, %",
        "undecided, scored, %",
        "worse, scored, %",
        "better in both, %",
    ],
    "collapsed": [
        "collapsed, %",
        "seeds",
        "found by t, %",
        "found by ranks, %",
        "collapsed trials flagged, %",
        "other trials flagged, %",
    ],
    "cutoffs": [
        "seeds",
        "an activation has a trial beyond 3.5, %",
        "1 % of activations have one beyond",
    ],
}


def main() -> None:
    """Print the table that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=HEADERS)
    parser.add_argument("--studies", type=int, default=10_000)
    options = parser.parse_args()
    rows = {"diverged": diverged, "collapsed": collapsed, "cutoffs": cutoffs}[options.table](
        options.studies
    )
    print(tabulate(rows, HEADERS[options.table], tablefmt="pipe", disable_numparse=True))
    print(f"\nn = {options.studies} studies per row")


if __name__ == "__main__":
    main()
