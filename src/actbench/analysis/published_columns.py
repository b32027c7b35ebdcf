"""Which column of a published table holds what, by its header."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from actbench.analysis.printed import clean
from actbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What a column may hold, with the headers that it is known by, best first. A header is compared
# in lower case, without what is in parentheses or brackets and without signs.
_METRIC = r"(?:(?:test|clean|validation|val|top 1|top1|corrupted|robust) )*(?:accuracy|acc|error)"
ROLES: dict[str, tuple[str, ...]] = {
    "name": (r"activations?(?: functions?)?", r"name|method|model|network|variant|function"),
    "mean": (
        rf"(?:mean|average|avg) {_METRIC}(?: rate)?|{_METRIC} (?:mean|average|avg)",
        r"mean|average|avg|mean (?:std|sd|se|sem|ci)",
        rf"{_METRIC}(?: rate)?|top 1|top1",
        rf"{_METRIC}\b.*",
    ),
    "sd": (
        r"(?:std|sd|s d|stdev|stddev|std dev|std deviation|standard deviation|σ)",
        r"(?:std|sd|stdev|stddev|std dev|standard deviation)\b(?! err).*"
        r"|.* (?:std|sd|stdev|stddev)",
    ),
    "se": (r"(?:se|sem|stderr|(?:std|standard) err(?:or)?)(?: of the mean)?(?:\b.*)?",),
    "n": (r"n|runs|seeds|trials|repetitions|repeats|sample size|samples|n (?:runs|seeds|trials)",),
    "ci_low": (r"(?:ci|95 ci) (?:low|lower)|lower(?: ci| bound| 95)?|low",),
    "ci_high": (r"(?:ci|95 ci) (?:high|upper)|upper(?: ci| bound| 95)?|high",),
    "ci": (r"(?:\d+ )*(?:ci|c i|confidence interval|interval)",),
    "p": (r"p|p values?|pvalue|p val|p holm",),
    "d": (r"d|cohens? d(?: score)?|effect size|cohens? d .*|hedges? g|g",),
    "difference": (r"difference|diff|δ|delta|gain|improvement|change",),
}
_ONE_OF = ", ".join(ROLES)


def find_columns(headers: Sequence[str], given: Mapping[str, str]) -> dict[str, int]:
    """Return the column of each role that has one; without a name column it is the first.

    Args:
        headers: the column names.
        given: the header of some roles, as the user gave them.

    Raises:
        UsageError: a role or header does not exist, or several columns fit a role equally well.
    """
    found: dict[str, int] = {}
    plain = [_plain(header) for header in headers]
    cleaned = [clean(header).lower() for header in headers]
    for role, header in given.items():
        if role not in ROLES:
            raise UsageError(f"--column {role}={header}: a column is one of {_ONE_OF}")
        if clean(header).lower() not in cleaned:
            raise UsageError(
                f"--column {role}={header}: there is no such column{did_you_mean(header, headers)}"
            )
        found[role] = cleaned.index(clean(header).lower())
    for role, patterns in ROLES.items():
        if role in found:
            continue
        free = [i for i in range(len(headers)) if i not in found.values()]
        for pattern in patterns:
            fitting = [i for i in free if re.fullmatch(pattern, plain[i])]
            if len(fitting) > 1 and role != "name":
                raise UsageError(
                    f"the columns {' and '.join(repr(headers[i]) for i in fitting)} may both be "
                    f"the {role}; say which with --column {role}=HEADER"
                )
            if fitting:
                found[role] = fitting[0]
                break
    if "name" not in found and 0 not in found.values():
        found["name"] = 0
    if "name" not in found:
        raise UsageError("no column has the rows' names; give one with --column name=HEADER")
    return found


def _plain(header: str) -> str:
    text = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", clean(header).lower()) or clean(header).lower()
    return " ".join(re.sub(r"[^\w\s.%]|_|%|\.(?!\d)|'", " ", text.replace("'s", "s")).split())
