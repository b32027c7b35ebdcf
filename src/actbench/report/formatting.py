"""Numbers, differences, intervals and p values as people read them."""

from __future__ import annotations

import math

DASH = "–"
# beside every number that a masked gradient may feign
MASKED = " ⚠"
MINUS = "−"
# beside every table of many metrics
METRICS_ALONE = (
    "Metrics are not corrected for one another: where many do not differ, a few come out as better "
    "or worse by chance."
)


def percent(mean: float, spread: float | None = None) -> str:
    """Return a fraction as percent with two decimals, ± its standard deviation where there is one.

    The unit stands in the column's head.
    """
    return _with_spread(mean * 100, None if spread is None else spread * 100, "{:.2f}")


def number(mean: float, spread: float | None = None) -> str:
    """Return a number with three significant digits, ± its standard deviation likewise."""
    return _with_spread(mean, spread, "{:.3g}")


def _with_spread(mean: float, spread: float | None, form: str) -> str:
    if not math.isfinite(mean):
        return DASH
    shown = form.format(mean).replace("-", MINUS)
    if spread is None:
        return shown
    return f"{shown} ± {form.format(spread) if math.isfinite(spread) else DASH}"


def signed(value: float, *, points: bool) -> str:
    """Return a difference with its sign: a fraction as points with two decimals, else as it is."""
    if not math.isfinite(value):
        return DASH
    shown = f"{100 * value:+.2f}" if points else f"{value:+.3g}"
    return shown.replace("-", MINUS)


def interval(low: float, high: float, *, points: bool) -> str:
    """Return an interval of differences, as ``signed`` shows them."""
    if not math.isfinite(low):
        return DASH
    return f"[{signed(low, points=points)}, {signed(high, points=points)}]"


def probability(value: float) -> str:
    """Return a p value with two significant digits, ``< 0.0001`` below that."""
    if not math.isfinite(value):
        return DASH
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
