"""Numbers, differences, intervals and p-values as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.analysis.metrics import Metric

DASH = "–"
# marks every number that masked gradients may have raised
MASKED = " ⚠"
MINUS = "−"
_MAX_DECIMALS = 6
# a note on every table of many metrics
METRICS_NOT_CORRECTED = (
    "Metrics are not corrected for one another: if many do not differ, a few come out as better "
    "or worse by chance."
)


def capitalised(text: str) -> str:
    """Return the text with a capital first letter, the rest as it is."""
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """Return a duration as text: ``48 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent(mean: float, spread: float | None = None) -> str:
    """Return a fraction as percent with two decimals, ± its standard deviation if given.

    Without the sign %, which is in the column's header.
    """
    return _with_spread(mean * 100, None if spread is None else spread * 100, "{:.2f}")


def number(mean: float, spread: float | None = None) -> str:
    """Return a number with three significant digits, ± its standard deviation if given.

    A deviation has two significant digits, and the mean as many decimals; both have three
    significant digits if that were more than six decimals, or the mean is a million or more.
    """
    return _with_spread(mean, spread, f"{{:{_decimals(mean, spread)}}}")


def _decimals(value: float, spread: float | None) -> str:
    """Return the format of a value with the decimals of its spread, which has two digits."""
    if spread is not None and math.isfinite(spread) and spread > 0 and abs(value) < 1e6:
        decimals = 1 - int(f"{spread:.1e}".partition("e")[2])
        if decimals <= _MAX_DECIMALS:
            return f".{max(0, decimals)}f"
    return ".3g"


def _with_spread(mean: float, spread: float | None, form: str) -> str:
    if not math.isfinite(mean):
        return DASH
    text = form.format(mean)
    if spread is not None:
        text = f"{text} ± {form.format(spread) if math.isfinite(spread) else DASH}"
    return text.replace("-", MINUS)


def signed(value: float, *, points: bool, ends: tuple[float, float] | None = None) -> str:
    """Return a difference with its sign: as points with two decimals, or as a number.

    A number has three digits, or with the ends of its interval as many decimals as they have: those
    that give half the interval's width two significant digits.
    """
    if not math.isfinite(value):
        return DASH
    form = _decimals(value, (ends[1] - ends[0]) / 2 if ends else None)
    shown = f"{100 * value:+.2f}" if points else f"{value:+{form}}"
    return shown.replace("-", MINUS)


def interval(low: float, high: float, *, points: bool = False, form: str = "") -> str:
    """Return an interval, of differences as ``signed`` shows them, unless in the format ``form``.

    It is a dash without both ends.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return DASH
    ends = low, high
    if form:
        return "[{}, {}]".format(*(format(end, form).replace("-", MINUS) for end in ends))
    return "[{}, {}]".format(*(signed(end, points=points, ends=ends) for end in ends))


def with_interval(shown: str, ends: str, separator: str = " ") -> str:
    """Return a value's text with that of its interval, unless this is a dash or empty."""
    return shown if ends in ("", DASH) else f"{shown}{separator}{ends}"


def correlation(value: float) -> str:
    """Return a correlation with its sign and two decimals."""
    return signed(value / 100, points=True)


def correlation_interval(low: float, high: float) -> str:
    """Return an interval of correlations, as ``correlation`` shows them."""
    return interval(low / 100, high / 100, points=True)


def difference(row: Mapping[Any, Any], *, points: bool, unit: str = "") -> str:
    """Return a comparison's difference and 95 % interval, ``+1.20 [−0.30, +2.70]``.

    Args:
        row: a row of a table of comparisons, with ``difference``, ``ci_low`` and ``ci_high``.
        points: as for ``signed``.
        unit: follows the difference.
    """
    both = row["ci_low"], row["ci_high"]
    shown = signed(row["difference"], points=points, ends=both) + (f" {unit}" if unit else "")
    return with_interval(shown, interval(*both, points=points))


def p_value(value: float) -> str:
    """Return a p-value with two significant digits, ``< 0.0001`` if it is smaller."""
    if not math.isfinite(value):
        return DASH
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def p_value_of(name: str, value: float) -> str:
    """Return a p-value as part of a sentence: ``p (Holm) = 0.03``, ``p (Holm) < 0.0001``."""
    shown = p_value(value)
    return f"{name} {shown}" if shown.startswith("<") else f"{name} = {shown}"


def metric_label(metric: Metric) -> str:
    """Return a metric's label for a table of differences, with the unit of a fraction's."""
    return f"{metric.label}, points" if metric.kind == "fraction" else metric.label
