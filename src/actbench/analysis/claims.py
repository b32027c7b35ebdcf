"""Published claims on activations, as data: the numbers, their source, and the study to check them.

They are the TOML files in ``actbench/claims``. Numbers there are texts, because their digits say
how they were rounded.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from actbench.analysis.printed import parse_number, parse_pair
from actbench.analysis.published_tables import PublishedRow, PublishedTable
from actbench.errors import UsageError, did_you_mean
from actbench.study.fields import is_number
from actbench.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actbench.analysis.printed import Printed

Better = Literal["higher", "lower"]

METRICS = ("clean_accuracy", "corrupted_accuracy")
_NUMBERS = ("mean", "sd", "se", "ci_half", "p", "d", "difference")
_CLAIM = {
    "title": str,
    "statement": str,
    "source": str,
    "url": str,
    "notes": list,
    "unverified": list,
    "study": dict,
    "unstated": list,
    "corrupted_images": str,
    "tables": list,
}
_TABLE = {
    "title": str,
    "label": str,
    "metric": str,
    "unit": str,
    "better": str,
    "baseline": str,
    "reference": str,
    "test_images": int,
    "n": int,
    "corruptions": list,
    "repeats": bool,
    "rows": list,
}
_ROW = {
    "name": str,
    "activation": str,
    "n": int,
    "corruptions": list,
    "severity": int,
    "interval": str,
    "unverified": list,
} | dict.fromkeys(_NUMBERS, str)
# The fields of a study that a source may state, by the names of the options of `actbench run`.
STUDY_FIELDS: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "model": str,
    "activations": list,
    "baseline": str,
    "seeds": (int, list),
    "epochs": int,
    "steps": int,
    "batch_size": int,
    "optimizer": str,
    "learning_rate": float,
    "weight_decay": float,
    "schedule": str,
    "augment": list,
    "normalise": str,
    "validation": float,
    "select": str,
    "corruptions": list,
}


@dataclass(frozen=True)
class ClaimTable:
    """A table of a claim.

    Attributes:
        table: its numbers as printed; the baseline is empty if it compares nothing.
        metric: ``clean_accuracy`` or ``corrupted_accuracy``, the mean over a row's corruptions.
        better: whether higher or lower means are better.
        test_images: the number of test images of each run; 0 if accuracy is not on the test set.
        repeats: whether it prints the runs of an earlier table again.
        label: its title in a figure, which is short.
    """

    table: PublishedTable
    metric: str
    better: Better
    test_images: int
    repeats: bool = False
    label: str = ""


@dataclass(frozen=True)
class Claim:
    """A published claim.

    Attributes:
        name: the file's name without its ending.
        title: what and by whom.
        statement: what the source concludes, in one sentence.
        source: where the numbers are printed.
        url: its address.
        tables: the numbers.
        study: the study that checks it, by the names of ``STUDY_FIELDS``; what is not stated in the
            source is missing.
        unstated: what the source does not say about its protocol.
        notes: sentences on the numbers.
        unverified: what nobody could check against the source.
        corrupted_images: where the source has its corrupted images from; "" if it has none.
    """

    name: str
    title: str
    statement: str
    source: str
    url: str
    tables: tuple[ClaimTable, ...]
    study: Mapping[str, Any]
    unstated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    corrupted_images: str = ""


def claim_names() -> list[str]:
    """Return the names of the claims in the package, sorted."""
    folder = resources.files("actbench") / "claims"
    return sorted(
        path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml")
    )


def read_claim(name: str) -> Claim:
    """Return a claim by its name.

    Raises:
        UsageError: there is no such claim.
    """
    names = claim_names()
    if name not in names:
        raise UsageError(f"unknown claim {name!r}{did_you_mean(name, names)}")
    path = resources.files("actbench") / "claims" / f"{name}.toml"
    return claim_from_toml(path.read_text(encoding="utf-8"), name)


def claim_from_toml(text: str, name: str) -> Claim:
    """Return the claim that a TOML text describes.

    Raises:
        UsageError: it is not TOML, or a field is missing, unknown or of another type.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"claim {name}: not valid TOML: {error}") from None
    required = ("title", "statement", "source", "url", "study", "tables")
    _check(values, _CLAIM, required, f"claim {name}")
    _check(values["study"], STUDY_FIELDS, ("dataset", "model"), f"claim {name}, study")
    tables = tuple(
        _table(table, f"claim {name}, table {number}")
        for number, table in enumerate(values["tables"], 1)
    )
    return Claim(
        name,
        values["title"],
        values["statement"],
        values["source"],
        values["url"],
        tables,
        values["study"],
        **{key: tuple(values.get(key, ())) for key in ("unstated", "notes", "unverified")},
        corrupted_images=values.get("corrupted_images", ""),
    )


def claim_settings(name: str, scale: float = 1.0) -> dict[str, Any]:
    """Return the fields of the study that repeats a claim, as ``Study`` takes them.

    Args:
        name: the claim's name.
        scale: the share of its epochs (or steps) and seeds, above 0; they are rounded, to one epoch
            or step and to two seeds at least. What the claim does not state is a share of the
            default.

    Raises:
        UsageError: there is no such claim.
    """
    fields = {**read_claim(name).study, "claim": name, "scale": scale}
    if not is_number(0, 1, above=True)(scale) or scale == 1:
        return fields
    default = Study()
    length = "steps" if "steps" in fields else "epochs"
    seeds = fields.get("seeds", list(default.seeds))
    seeds = list(range(seeds)) if isinstance(seeds, int) else seeds
    fields[length] = max(1, round(scale * fields.get(length, default.epochs)))
    fields["seeds"] = seeds[: max(2, round(scale * len(seeds)))]
    return fields


def _table(values: Mapping[str, Any], where: str) -> ClaimTable:
    _check(values, _TABLE, ("title", "metric", "unit", "rows"), where)
    shared = {key: values[key] for key in ("n", "corruptions") if key in values}
    rows = tuple(
        _row({**shared, **row}, f"{where}, row {number}")
        for number, row in enumerate(values["rows"], 1)
    )
    names = [row.name for row in rows]
    baseline = values.get("baseline", "")
    reference = values.get("reference", baseline)
    for key, allowed in (
        ("unit", ("percent", "fraction")),
        ("better", ("higher", "lower")),
        ("baseline", names),
        ("reference", names),
        ("metric", METRICS),
    ):
        if key in values and values[key] not in allowed:
            raise UsageError(f"{where}: {key} is {values[key]!r}; it must be one of {allowed}")
    if len(set(names)) < len(names):
        raise UsageError(f"{where}: two rows have one name")
    table = PublishedTable(values["title"], rows, values["unit"], baseline, reference or names[0])
    return ClaimTable(
        table,
        values["metric"],
        values.get("better", "higher"),
        values.get("test_images", 0),
        values.get("repeats", False),
        values.get("label", ""),
    )


def _row(values: Mapping[str, Any], where: str) -> PublishedRow:
    _check(values, _ROW, ("name", "mean"), where)
    numbers = {
        key: _parsed(parse_number, values[key], f"{where}: {key}")
        for key in _NUMBERS
        if key in values
    }
    ends: dict[str, Printed] = {}
    if "interval" in values:
        low, high = _parsed(parse_pair, values["interval"], f"{where}: interval")
        ends = {"ci_low": low, "ci_high": high}
    return PublishedRow(
        values["name"],
        n=values.get("n"),
        activation=values.get("activation", ""),
        corruptions=tuple(values.get("corruptions", ())),
        severity=values.get("severity", 0),
        unverified=tuple(values.get("unverified", ())),
        **numbers,
        **ends,
    )


def _parsed(parse: Callable[[str], Any], text: str, where: str) -> Any:
    found = parse(text)
    if found is None:
        raise UsageError(f"{where} is {text!r}, which is not a number as printed")
    return found


def _check(
    values: Mapping[str, Any],
    types: Mapping[str, type | tuple[type, ...]],
    required: tuple[str, ...],
    where: str,
) -> None:
    for key, value in values.items():
        if key not in types:
            raise UsageError(f"{where} has an unknown key {key!r}{did_you_mean(key, types)}")
        is_flag = isinstance(value, bool)
        if not isinstance(value, types[key]) or (is_flag and types[key] is not bool):
            raise UsageError(f"{where}: {key} is {value!r}, which has the wrong type")
    missing = [key for key in required if key not in values]
    if missing:
        raise UsageError(f"{where} lacks {', '.join(missing)}")
