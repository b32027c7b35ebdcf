"""The specs of a recipe: optimizer, schedule, augmentation and adversarial training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError
from actbench.study.fields import MAX_EPSILON, Rule, flag, integer, is_number, number, one_of
from actbench.study.registry import Registry, dataclass_entry, parameter
from actbench.study.specs import names_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.study.recipe_fields import RecipeFields

EPSILON = number(0, MAX_EPSILON, above=True)
ATTACK_STEPS = integer(1, high=10_000)
BETA = Rule(lambda v: is_number(0, 1)(v) and v < 1, "a number from 0 to below 1")
WARMUP = Rule(BETA.is_valid, "a share of the steps, from 0 to below 1")


@dataclass(frozen=True)
class SGDSettings:
    """Stochastic gradient descent, with torch.optim.SGD's parameters and defaults."""

    momentum: float = parameter(0.0, number(0, 1))
    nesterov: bool = parameter(False, flag())


@dataclass(frozen=True)
class AdamSettings:
    """Adam (Kingma and Ba 2015), with torch.optim.Adam's parameters and defaults."""

    beta1: float = parameter(0.9, BETA)
    beta2: float = parameter(0.999, BETA)
    eps: float = parameter(1e-8, number(0, 1, above=True))


@dataclass(frozen=True)
class AdamWSettings(AdamSettings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch.optim.AdamW."""


@dataclass(frozen=True)
class RMSpropSettings:
    """RMSprop (Hinton 2012), with torch.optim.RMSprop's parameters and defaults."""

    alpha: float = parameter(0.99, BETA)
    eps: float = parameter(1e-8, number(0, 1, above=True))
    momentum: float = parameter(0.0, number(0, 1))
    centered: bool = parameter(False, flag())


@dataclass(frozen=True)
class ConstantRate:
    """The learning rate itself at every step."""

    warmup: float = parameter(0.0, WARMUP)


@dataclass(frozen=True)
class Step:
    """The learning rate, multiplied by `factor` at each share of the steps in `at`."""

    at: tuple[float, ...] = parameter(
        (0.5, 0.75),
        Rule(
            lambda v: v == tuple(sorted(set(v))) and v[0] > 0 and v[-1] < 1,
            "rising shares of the steps between 0 and 1, such as 0.5/0.75",
        ),
    )
    factor: float = parameter(0.1, number(0, 1))
    warmup: float = parameter(0.0, WARMUP)


@dataclass(frozen=True)
class Cosine:
    """From the learning rate to 0 along half a cosine (Loshchilov and Hutter 2017)."""

    warmup: float = parameter(0.0, WARMUP)


@dataclass(frozen=True)
class OneCycle:
    """Up to the learning rate and down (Smith and Topin 2019), as torch's OneCycleLR.

    ``warmup`` is its ``pct_start``. The momentum does not change.
    """

    warmup: float = parameter(0.3, WARMUP)
    div_factor: float = parameter(25.0, number(1, 1e9))
    final_div_factor: float = parameter(1e4, number(1, 1e9))


@dataclass(frozen=True)
class Auto:
    """Flip if a mirrored image keeps its label: not for digits."""


@dataclass(frozen=True)
class Flip:
    """Mirror left-right with probability 1/2."""


@dataclass(frozen=True)
class Crop:
    """Pad with black pixels on all sides and crop to the image's size at a random place."""

    padding: int = parameter(4, integer(1, high=10_000))


@dataclass(frozen=True)
class Cutout:
    """Set a square to the mean colour (DeVries and Taylor 2017); its centre is any pixel."""

    size: int = parameter(8, integer(1, high=10_000))


@dataclass(frozen=True)
class PixelNoise:
    """Add Gaussian noise to pixels in [0, 1] and clip them."""

    sigma: float = parameter(0.1, number(0, 10, above=True))


@dataclass(frozen=True)
class NoAdversary:
    """Train on the images as they are."""


@dataclass(frozen=True)
class PGDAdversary:
    """Train on images attacked by projected gradient descent (Madry et al. 2018)."""

    epsilon: float = parameter(8 / 255, EPSILON)
    steps: int = parameter(10, ATTACK_STEPS)
    step: float = parameter(2 / 255, EPSILON)
    norm: str = parameter("linf", one_of("linf", "l2"))
    random_start: bool = parameter(True, flag())


@dataclass(frozen=True)
class Trades:
    """Add beta times the divergence between clean and attacked outputs (Zhang et al. 2019)."""

    beta: float = parameter(6.0, number(0, 1000))
    epsilon: float = parameter(8 / 255, EPSILON)
    steps: int = parameter(10, ATTACK_STEPS)
    step: float = parameter(2 / 255, EPSILON)


@dataclass(frozen=True)
class FGSMAdversary:
    """Train on images attacked by one step from a random start (Wong, Rice and Kolter 2020)."""

    epsilon: float = parameter(8 / 255, EPSILON)
    step: float = parameter(10 / 255, EPSILON)
    random_start: bool = parameter(True, flag())


@dataclass(frozen=True)
class GaussianNoise:
    """Add Gaussian noise to pixels in [0, 1], without clipping (Cohen et al. 2019)."""

    sigma: float = parameter(0.25, number(0, 10, above=True))


OptimizerSettings = SGDSettings | AdamSettings | RMSpropSettings
Schedule = ConstantRate | Step | Cosine | OneCycle
Change = Auto | Flip | Crop | Cutout | PixelNoise
Adversary = NoAdversary | PGDAdversary | Trades | FGSMAdversary | GaussianNoise


OPTIMIZERS: Registry[type[OptimizerSettings]] = Registry(
    "optimizer",
    sgd=dataclass_entry(
        SGDSettings,
        Rule(lambda p: p["momentum"] > 0 or not p["nesterov"], "nesterov needs a momentum above 0"),
    ),
    adam=dataclass_entry(AdamSettings),
    adamw=dataclass_entry(AdamWSettings),
    rmsprop=dataclass_entry(RMSpropSettings),
)
SCHEDULES: Registry[type[Schedule]] = Registry(
    "schedule",
    constant=dataclass_entry(ConstantRate),
    step=dataclass_entry(
        Step, Rule(lambda p: p["warmup"] < p["at"][0], "warmup must end before the first of at")
    ),
    cosine=dataclass_entry(Cosine),
    onecycle=dataclass_entry(OneCycle),
)
AUGMENTATIONS: Registry[type[Change]] = Registry(
    "augmentation",
    auto=dataclass_entry(Auto),
    flip=dataclass_entry(Flip),
    crop=dataclass_entry(Crop),
    cutout=dataclass_entry(Cutout),
    gaussian_noise=dataclass_entry(PixelNoise),
)
_IN_RANGE = Rule(
    lambda p: p["epsilon"] <= 1 or p.get("norm") == "l2",
    "epsilon is for pixels in [0, 1], so at most 1 in the L∞ norm; give a fraction such as 8/255",
)
ADVERSARIES: Registry[type[Adversary]] = Registry(
    "adversarial training",
    none=dataclass_entry(NoAdversary),
    pgd=dataclass_entry(PGDAdversary, _IN_RANGE),
    trades=dataclass_entry(Trades, _IN_RANGE),
    fgsm=dataclass_entry(FGSMAdversary, _IN_RANGE),
    gaussian_noise=dataclass_entry(GaussianNoise),
)


def canonical_changes(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the canonical augmentations, in the order in which they are applied.

    Raises:
        UsageError: a spec is wrong, a change is named twice, or ``none`` beside another.
    """
    found: dict[str, str] = {}
    for text in names_or_none("augment", texts):
        name = AUGMENTATIONS.parse(text).name
        if name in found:
            raise UsageError(f"augment names {name!r} twice; name it once")
        found[name] = AUGMENTATIONS.canonical(text)
    if {"auto", "flip"} <= found.keys():
        raise UsageError("augment has both 'auto' and 'flip', but auto can mean flip; give one")
    return tuple(found[name] for name in AUGMENTATIONS if name in found)


def canonical_recipe(fields: RecipeFields) -> dict[str, Any]:
    """Return the fields of a recipe that are specs, in their canonical form.

    Raises:
        UsageError: a spec is wrong, or two fields contradict each other.
    """
    if fields.select == "best" and not fields.validation:
        raise UsageError("select is 'best', which needs held-out images: give validation too")
    return {
        "optimizer": OPTIMIZERS.canonical(fields.optimizer),
        "schedule": SCHEDULES.canonical(fields.schedule),
        "train_against": ADVERSARIES.canonical(fields.train_against),
        "augment": canonical_changes(fields.augment),
        "pixel_statistics": tuple((float(a), float(b)) for a, b in fields.pixel_statistics),
    }


# Earlier versions had the fields momentum and augmentation.


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a ``study.toml`` with the present fields for former ones.

    Raises:
        UsageError: it has a former field beside the present one.
    """
    for former, present in (("momentum", "optimizer"), ("augmentation", "augment")):
        if former in values and present in values:
            raise UsageError(f"{former} is part of {present} now; remove it")
    values = dict(values)
    if "momentum" in values:
        values["optimizer"] = f"sgd:momentum={values.pop('momentum')}"
    if "augmentation" in values:
        values["augment"] = [values.pop("augmentation")]
    return values


def former_names(decides: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a trial with former fields for the present ones where these say the same.

    So trials of earlier versions keep their names.
    """
    found = dict(decides)
    if "optimizer" in found:
        optimizer = OPTIMIZERS.resolve(found["optimizer"])
        if isinstance(optimizer, SGDSettings) and not optimizer.nesterov:
            del found["optimizer"]
            found["momentum"] = optimizer.momentum
    if found.get("augment") in ([], ["flip"]):
        found["augmentation"] = (found.pop("augment") or ["none"])[0]
    return found
