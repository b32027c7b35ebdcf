"""Measure the error rates of the verdicts by simulation; print the tables of docs/statistics.md.

``python tools/simulate_statistics.py [--studies N] [TABLE ...]`` with the tables ``matched``,
``seeds``, ``equivalence``, ``sequential``, ``mce`` and ``settings``; all of them if none is named.
Everything is drawn from fixed seeds. Points are percentage points of accuracy; the margin is 0.5 of
them.

"Before" is the rule of the first version, which is kept here only: the pooled line of matched
accuracy, the seeds that detect the margin at 5 % if the observed deviation were the true one,
equivalence without correction.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats
from tabulate import tabulate

from actbench.analysis.corruption_error import linearised_ratio
from actbench.analysis.matched import matched_difference
from actbench.analysis.paired import equivalence_p_value, paired_t
from actbench.analysis.planning import seeds_needed
from actbench.analysis.sequential import LEVEL, interim_analyses, spending_level
from actbench.analysis.verdicts import holm
from settings_intervals import knapp_hartung, mixed_model, stratified_bootstrap, t_over_means

MARGIN = 0.5


def matched(studies: int) -> str:
    """Two activations; clean sd 0.7 and corrupted residual sd 0.4 points, half the former shared.

    Corrupted accuracy follows clean accuracy by an activation's own slope about the mean of both;
    the effect is the distance of the two lines there.
    """
    rows = []
    for effect, gain, slopes in (
        (-2, 3, (1, 1)),
        (0, 3, (1, 1)),
        (-2, 3, (0.7, 1.3)),
        (-2, 0.5, (1, 1)),
        (0, 0, (1, 1)),
    ):
        for n in (5, 10, 20):
            rng = np.random.default_rng([n, abs(effect), int(10 * gain)])
            shared, own_0, own_1 = rng.normal(0, 0.7 / np.sqrt(2), (3, studies, n))
            clean = np.array([shared + own_0 - gain / 2, shared + own_1 + gain / 2])
            noise = rng.normal(0, 0.4, (2, studies, n))
            corrupted = noise + np.array(slopes)[:, None, None] * clean
            corrupted[1] += effect
            before = paired_t(_pooled_differences(clean, corrupted))
            equivalent = equivalence_p_value(_pooled_differences(clean, corrupted), MARGIN) <= LEVEL
            pairs = zip(corrupted[1] - corrupted[0], clean[1] - clean[0], strict=True)
            found = [matched_difference(y, x, MARGIN) for y, x in pairs]
            figures = np.array(
                [
                    (f.test.difference, f.test.ci_low, f.test.ci_high, f.p_equivalence)
                    for f in found
                    if not f.reason
                ]
            )
            low, high = figures[:, 1], figures[:, 2]
            rows.append(
                [
                    *(f"{effect:+d}", f"{gain:+g}", f"{slopes[0]:g}, {slopes[1]:g}", n),
                    f"{before.difference.mean():+.2f}",
                    _percent((before.ci_low <= effect) & (effect <= before.ci_high)),
                    _percent(equivalent),
                    f"{figures[:, 0].mean():+.2f}",
                    _percent((low <= effect) & (effect <= high)),
                    _percent(figures[:, 3] <= LEVEL),
                    f"{np.median(high - low):.1f}",
                    _percent(np.array([bool(f.reason) for f in found])),
                ]
            )
    headers = ["effect", "gain", "slopes", "n", "before: mean", "covers", "equivalent"]
    headers += ["now: mean", "covers", "equivalent", "width", "not estimable"]
    return _table(rows, headers)


def _pooled_differences(clean: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Return paired differences of the residuals from one line through all trials."""
    apart = clean - clean.mean(axis=(0, 2), keepdims=True)
    slope = (apart * corrupted).sum(axis=(0, 2)) / (apart**2).sum(axis=(0, 2))
    residuals = corrupted - slope[None, :, None] * clean
    differences: np.ndarray = residuals[1] - residuals[0]
    return differences


def seeds(studies: int) -> str:
    """A pilot prints a number of seeds; a new study uses it. The true deviation is 1 point."""
    rows = []
    repeats = 20
    for pilot in (5, 10):
        for tests in (1, 5):
            rng = np.random.default_rng([pilot, tests])
            deviations = np.sqrt(rng.chisquare(pilot - 1, studies // repeats) / (pilot - 1))
            printed = [seeds_needed(MARGIN, s, pilot, tests) for s in deviations]
            now = np.array([p.number for p in printed])
            old = np.maximum(2, np.ceil(_detecting(MARGIN / deviations)))
            cells = [pilot, tests, f"{np.median(old):.0f}"]
            better, decided = _verdicts(rng, np.repeat(old, repeats), MARGIN, tests, 1)
            cells.append(_percent(better))
            cells.append(_percent(_verdicts(rng, np.repeat(old, repeats), MARGIN / 2, tests, 1)[1]))
            ends = [np.median([getattr(p, end) for p in printed]) for end in ("low", "high")]
            cells.append(f"{np.median(now):.0f} ({ends[0]:.0f}–{ends[1]:.0f})")
            for part in (0, 0.25, 0.5, 0.75, 1):
                _, decided = _verdicts(rng, np.repeat(now, repeats), part * MARGIN, tests, tests)
                cells.append(_percent(decided))
            cells.append(_percent(_continued(rng, pilot, tests, studies // 4)))
            rows.append(cells)
    headers = ["pilot", "others", "before: number", "better at margin", "verdict at ½"]
    headers += ["now: number (range)", "verdict at 0", "¼", "½", "¾", "margin", "continued, ½"]
    return _table(rows, headers)


def _detecting(effect: np.ndarray) -> np.ndarray:
    """Return the pairs that detect an effect with 80 % power at 5 % (Guenther 1981, ± 1)."""
    z = stats.norm.ppf(1 - LEVEL / 2)
    pairs: np.ndarray = (z + stats.norm.ppf(0.8)) ** 2 / effect**2 + z**2 / 2
    return pairs


def _verdicts(
    rng: np.random.Generator, n: np.ndarray, truth: float, tests: int, equivalence_tests: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which studies of n pairs say "better", and which reach any verdict."""
    error = np.sqrt(rng.chisquare(n - 1) / (n - 1) / n)
    return _decide(rng.normal(truth, 1 / np.sqrt(n)), error, n, tests, equivalence_tests)


def _decide(
    mean: np.ndarray, error: np.ndarray, n: np.ndarray, tests: int, equivalence_tests: int
) -> tuple[np.ndarray, np.ndarray]:
    quantile = stats.t.isf(LEVEL / 2 / tests, n - 1)
    equivalent = MARGIN - np.abs(mean) >= stats.t.isf(LEVEL / equivalence_tests, n - 1) * error
    different = np.abs(mean) >= quantile * error
    return (mean >= quantile * error) & ~equivalent, different | equivalent


def _continued(rng: np.random.Generator, pilot: int, tests: int, studies: int) -> np.ndarray:
    """Return which undecided pilots are decided once they have grown to the printed number.

    The true difference is half the margin.
    """
    truth = MARGIN / 2
    mean = rng.normal(truth, 1 / np.sqrt(pilot), studies)
    squares = rng.chisquare(pilot - 1, studies)
    size = np.full(studies, float(pilot))
    error = np.sqrt(squares / (pilot - 1) / pilot)
    undecided = ~_decide(mean, error, size, tests, tests)[1]
    mean, squares = mean[undecided], squares[undecided]
    deviations = np.sqrt(squares / (pilot - 1))
    n = np.array([seeds_needed(MARGIN, s, pilot, tests).number for s in deviations])
    n = np.maximum(n, pilot + 1)
    more = n - pilot
    added = rng.normal(truth, 1 / np.sqrt(more))
    within = np.where(more > 1, rng.chisquare(np.maximum(more - 1, 1)), 0)
    total = squares + within + pilot * more / n * (mean - added) ** 2
    grown = (pilot * mean + more * added) / n
    return _decide(grown, np.sqrt(total / (n - 1) / n), n, tests, tests)[1]


def equivalence(studies: int) -> str:
    """Ten seeds; differences that share the baseline's noise. Shares of studies with any error."""
    rows = []
    for deviation, truths in (
        (0.1, (1.0,)),
        (0.1, (1.0, 1.0)),
        (0.1, (1.0,) * 5),
        (0.3, (0.0, 0.0, 0.0, 1.0, 1.0)),
        (0.5, (0.0,) * 5),
    ):
        rng = np.random.default_rng(len(truths))
        centres = MARGIN * np.array(truths)[:, None]
        draws = centres + deviation * _sharing(rng, studies, len(truths), 10)
        p_equivalence = equivalence_p_value(draws, MARGIN)
        p_difference = np.array([holm(p) for p in paired_t(draws).p_value])
        cells = [f"{sum(t > 0 for t in truths)}", f"{sum(t == 0 for t in truths)}", deviation]
        at_margin, equal = centres[:, 0] > 0, centres[:, 0] == 0
        for p in (p_equivalence, np.array([holm(p) for p in p_equivalence])):
            equivalent = p <= LEVEL
            wrong = equivalent[:, at_margin].any(axis=1)
            differs = (p_difference <= LEVEL) & ~equivalent
            either = wrong | differs[:, equal].any(axis=1)
            right = equivalent[:, equal]
            cells += [_percent(wrong) if at_margin.any() else "–", _percent(either)]
            cells.append(_percent(right) if equal.any() else "–")
        rows.append(cells)
    headers = ["at the margin", "equal", "sd", "before: any at the margin equivalent"]
    headers += ["any error", "equal ones equivalent", "now: any at the margin equivalent"]
    return _table(rows, [*headers, "any error", "equal ones equivalent"])


def _sharing(rng: np.random.Generator, studies: int, activations: int, n: int) -> np.ndarray:
    own = rng.standard_normal((studies, activations, n))
    shared = rng.standard_normal((studies, 1, n))
    draws: np.ndarray = (own + shared) / np.sqrt(2)
    return draws


def sequential(studies: int) -> str:
    """Five activations, interim analyses at 5 to 30 seeds; two correlated metrics."""
    times = interim_analyses(5, 30)
    rows = []
    for correlation in (0.0, 0.6, 0.9):
        rng = np.random.default_rng(int(10 * correlation))
        first = _sharing(rng, studies, 5, 30)
        second = correlation * first + np.sqrt(1 - correlation**2) * _sharing(rng, studies, 5, 30)
        alone = [_ever_different(metric, times, 1) for metric in (first, second)]
        paired = [_ever_different(metric, times, 2) for metric in (first, second)]
        power = []
        for share in (1, 2):
            shifted = first[:, :1] + 0.7
            others = np.concatenate([shifted, first[:, 1:]], axis=1)
            power.append(_percent(_ever_different(others, times, share, only_first=True)))
        rows.append(
            [
                correlation,
                _percent(alone[0]),
                _percent(alone[0] | alone[1]),
                power[0],
                _percent(paired[0] | paired[1]),
                power[1],
            ]
        )
    headers = ["correlation", "per metric: one metric", "either metric", "finds 0.7"]
    return _table(rows, [*headers, "pair: either metric", "finds 0.7"])


def _ever_different(
    differences: np.ndarray, times: tuple[int, ...], share: int, *, only_first: bool = False
) -> np.ndarray:
    """Return which studies call an activation different at some analysis, at level / share."""
    found = np.zeros(len(differences), dtype=bool)
    for n in times:
        p_values = paired_t(differences[..., :n]).p_value
        smallest = p_values[:, 0] if only_first else p_values.min(axis=1)
        found |= p_values.shape[1] * smallest <= spending_level(n, times) / share
    return found


def mce(studies: int) -> str:
    """Errors of normal seeds, a third shared by both activations and all corruptions.

    The divisor's relative standard error is that of the baseline's mean error over the seeds.
    """
    rows = []
    for corruptions in (1, 4):
        for ratio in (1.0, 1.3):
            for relative in (0.02, 0.1, 0.2, 0.33):
                cells = [corruptions, f"{100 * ratio:.0f} %", f"{relative:g}"]
                for n in (5, 10):
                    rng = np.random.default_rng([corruptions, n, int(100 * relative)])
                    shared = rng.standard_normal((studies, n, 1)) / np.sqrt(3)
                    own = rng.standard_normal((2, studies, n, corruptions)) * np.sqrt(2 / 3)
                    noise = relative * np.sqrt(n) * (shared + own)
                    usable = (1 + noise[1].mean(axis=1) > 0).all(axis=1)
                    ours, theirs = ratio + noise[0][usable], 1 + noise[1][usable]
                    parts = [linearised_ratio(a, b) for a, b in zip(ours, theirs, strict=True)]
                    found = paired_t(np.array(parts) - 1)
                    truth = ratio - 1
                    cells.append(_percent((found.ci_low <= truth) & (truth <= found.ci_high)))
                rows.append(cells)
    headers = ["corruptions", "true mCE", "relative standard error", "covers, n = 5", "n = 10"]
    return _table(rows, headers)


def settings(studies: int) -> str:
    """Settings drawn from a population; five seeds each, whose differences have sd 1 point.

    In "unequal" every third setting has three times, and every third a third of that deviation.
    """
    rows = []
    for unequal in (False, True):
        for between in (0, 0.5, 2):
            for k in (3, 5, 10):
                rng = np.random.default_rng([k, int(10 * between), unequal])
                deviations = np.resize([3, 1, 1 / 3] if unequal else [1], k)[:, None]
                effects = between * rng.standard_normal((studies, k, 1))
                draws = effects + deviations * rng.standard_normal((studies, k, 5))
                found = {
                    "used": t_over_means(draws),
                    "mixed": mixed_model(draws),
                    "weighted": knapp_hartung(draws),
                    "bootstrap": stratified_bootstrap(rng, draws[: max(studies // 20, 10)]),
                }
                cells = ["unequal" if unequal else "equal", between, k]
                for mean, half in found.values():
                    cells.append(_percent(np.abs(mean) <= half))
                cells += [f"{2 * np.median(found[name][1]):.1f}" for name in ("used", "mixed")]
                rows.append(cells)
    headers = ["deviations", "sd between", "settings", "t over means (used)", "mixed model"]
    headers += ["weighted, Knapp–Hartung", "stratified bootstrap", "width, used", "width, mixed"]
    return _table(rows, headers)


def _percent(hits: np.ndarray) -> str:
    return f"{100 * np.mean(hits):.1f} %"


def _table(rows: list[list[object]], headers: list[str]) -> str:
    text = [[str(cell).replace("-", "−") for cell in row] for row in rows]
    align = ["right"] * len(headers)
    return tabulate(text, headers, "pipe", disable_numparse=True, colalign=align)


TABLES = {
    "matched": matched,
    "seeds": seeds,
    "equivalence": equivalence,
    "sequential": sequential,
    "mce": mce,
    "settings": settings,
}


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--studies", type=int, default=20_000, help="simulated studies per row")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(TABLES):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    for name in options.tables or TABLES:
        print(f"## {name}, {options.studies} studies per row\n")
        print(TABLES[name](options.studies), end="\n\n")


if __name__ == "__main__":
    main()
