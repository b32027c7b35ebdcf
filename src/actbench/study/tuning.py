"""How a study chooses the learning rate and the weight decay of each activation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError
from actbench.study.fields import MAX_RATE, Rule, integer
from actbench.study.registry import Registry, dataclass_entry, parameter

if TYPE_CHECKING:
    from actbench.study.recipe_fields import RecipeFields

_RANGE = Rule(
    lambda v: len(v) == 2 and 0 < v[0] < v[1] <= MAX_RATE,
    f"the two ends of a range above 0, up to {MAX_RATE}, the lower first, such as 0.001/0.1",
)


@dataclass(frozen=True)
class Random:
    """Random search, repeated: `studies` times the best of `trials` points in the ranges."""

    trials: int = parameter(5, integer(2, high=100))
    studies: int = parameter(3, integer(1, high=100))
    lr: tuple[float, ...] = parameter((), _RANGE)
    weight_decay: tuple[float, ...] = parameter((), _RANGE)


TUNINGS: Registry[type[Random]] = Registry(
    "tuning",
    random=dataclass_entry(
        Random,
        Rule(lambda p: p["lr"] != (), "lr is missing; give its range, such as lr=0.001/0.1"),
    ),
)


def tuning_of(fields: RecipeFields) -> Random | None:
    """Return the random search of a recipe; None if it has none."""
    return TUNINGS.resolve(fields.tune) if fields.tune else None


def canonical_tuning(fields: RecipeFields) -> dict[str, Any]:
    """Return the fields of a recipe that say how settings are chosen, in their canonical form.

    Raises:
        UsageError: ``tune`` is wrong, or two fields contradict each other.
    """
    search, counts = tuning_of(fields), Counter(name for name, *_ in fields.tuned)
    for other in ("tune_lr", "learning_rates"):
        if getattr(fields, other) and (fields.tune or fields.tuned):
            name = "tune" if fields.tune else "tuned"
            raise UsageError(f"{name} and {other} both set learning rates; give one of them")
    studies = search.studies if search else next(iter(counts.values()), 0)
    for name, count in counts.items():
        if count != studies:
            raise UsageError(
                f"tuned has {count} settings of {name}; it must have {studies}, one for each "
                "tuning study"
            )
    return {
        "tune_lr": tuple(sorted(map(float, fields.tune_lr))),
        "learning_rates": tuple((name, float(rate)) for name, rate in fields.learning_rates),
        "tune": TUNINGS.canonical(fields.tune) if fields.tune else "",
        "tuned": tuple((name, float(rate), float(decay)) for name, rate, decay in fields.tuned),
    }
