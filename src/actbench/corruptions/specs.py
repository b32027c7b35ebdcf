"""Corruption specs → levels: what each severity of a spec computes, and from which seed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actbench.corruptions.constants import DEFAULT_SEVERITY, Constant, published_side
from actbench.corruptions.own import import_corruption, severity_of
from actbench.corruptions.published import published_names
from actbench.corruptions.registry import CORRUPTIONS
from actbench.errors import UsageError
from actbench.study.levels import MAX_LEVELS, SEVERITIES
from actbench.study.specs import names_or_none, parse_value, value_text
from actbench.study.study import seed_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Generator, Tensor

    from actbench.study.specs import Spec, Value

_CIFAR10C = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "defocus_blur",
    "motion_blur",
    "zoom_blur",
    "fog",
    "snow",
    "contrast",
    "brightness",
    "jpeg_compression",
    "pixelate",
    "elastic_transform",
)
SUITES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "cifar10c": _CIFAR10C,
    "extra": tuple(name for name in CORRUPTIONS if name not in _CIFAR10C),
    "all": tuple(CORRUPTIONS),
}
OF_FILES = "published"  # the suite of all files in the folder of published ones


@dataclass(frozen=True)
class Level:
    """One severity of a corruption spec.

    Attributes:
        key: decides the random draws, and with the images the result.
        apply: turns images, float32 (N, 3, H, W) in [0, 1], into the same, drawing from a
            generator.
    """

    key: str
    apply: Callable[[Tensor, Generator], Tensor]

    @property
    def seed(self) -> int:
        """The seed of the generator to draw from."""
        name, _, rest = self.key.rpartition(" ")
        return seed_for("corruption", name, int(rest) if rest.isdigit() else rest)


def resolve(text: str, severity: int) -> Level:
    """Return what a corruption spec computes at a severity.

    Raises:
        UsageError: an unknown name or constant, a value of the wrong type or range, lists of
            different lengths, or no such severity.
    """
    spec = CORRUPTIONS.parse(text)
    levels = _levels(spec)
    count = len(levels) or len(SEVERITIES)
    if type(severity) is not int or not 1 <= severity <= count:
        raise UsageError(
            f"severity is {severity!r}; for {text!r} it must be an integer from 1 to {count}"
        )
    if spec.imported:
        return Level(f"{spec.name} {severity}", severity_of(import_corruption(spec), severity))
    entry = CORRUPTIONS[spec.name]
    given = levels[severity - 1] if levels else {}
    published = DEFAULT_SEVERITY if levels else severity

    def apply(images: Tensor, generator: Generator) -> Tensor:
        side = published_side(*images.shape[-2:])
        constants: dict[str, Any] = {
            name: constant.at(published, side)
            for name, constant in entry.parameters.items()
            if isinstance(constant, Constant)
        }
        return entry.target(images, generator, **{**constants, **given})

    level = ",".join(f"{name}={value_text(given[name])}" for name in sorted(given))
    return Level(f"{spec.name} {level or severity}", apply)


def canonical(text: str) -> str:
    """Return the one spelling of a corruption spec, such as ``gaussian_noise:sigma=0.1/0.2``.

    Raises:
        UsageError: as ``resolve``.
    """
    spec = CORRUPTIONS.parse(text)
    levels = _levels(spec)
    texts = {name: [value_text(level[name]) for level in levels] for name in (levels or [{}])[0]}
    lists = {name: "/".join(v if len(set(v)) > 1 else v[:1]) for name, v in texts.items()}
    return spec.canonical(lists)


def _levels(spec: Spec) -> list[dict[str, Any]]:
    """Return the constants that a spec gives for each level; empty for severities."""
    given: dict[str, Value] = dict(spec.parameters)
    if spec.imported and (given or spec.value is not None):
        raise UsageError(
            f"corruption {spec.name!r}: a corruption of your own takes no constants; it is given "
            "the severity, from 1 to 5"
        )
    if spec.imported:
        return []
    if spec.value is not None:
        given = {next(iter(CORRUPTIONS[spec.name].parameters)): spec.value}
    lists = {
        name: [parse_value(part) for part in value.split("/")] if type(value) is str else [value]
        for name, value in given.items()
    }
    longest = max((len(values) for values in lists.values()), default=0)
    for name, values in lists.items():
        if len(values) not in (1, longest):
            other = next(other for other, v in lists.items() if len(v) == longest)
            raise UsageError(
                f"corruption {spec.name!r}: {name} has {len(values)} levels and {other} "
                f"{longest}; give as many for each, or one for all levels"
            )
    if longest > MAX_LEVELS:
        raise UsageError(
            f"corruption {spec.name!r} has {longest} levels; it must have at most {MAX_LEVELS}"
        )
    levels: list[dict[str, Any]] = []
    for i in range(longest):
        one = {name: values[i if len(values) > 1 else 0] for name, values in lists.items()}
        level = CORRUPTIONS.bind(dataclasses.replace(spec, value=None, parameters=one))
        if level in levels:
            same = ", ".join(f"{name} = {value_text(value)}" for name, value in level.items())
            raise UsageError(f"corruption {spec.name!r} has the level {same} twice; give it once")
        levels.append(level)
    return levels


def expand(names: Sequence[str], folder: str = "") -> tuple[str, ...]:
    """Return the canonical specs that names and suites refer to, in order of first mention.

    ``("none",)`` means no corruption. A name that several suites contain is returned once.

    Args:
        names: names, suites and specs.
        folder: a folder of published files. Their names are known too, the suite ``published`` is
            all of them, and the suites ``cifar10c`` and ``all`` contain frost, after snow.

    Raises:
        UsageError: a name is unknown or not available, ``none`` is given with others, or the same
            levels are given twice.
    """
    known = {**{name: (name,) for name in CORRUPTIONS}, **SUITES}
    if folder:
        files = published_names(folder)
        known = {**{name: (name,) for name in files}, "frost": ("frost",), **known}
        known[OF_FILES] = files
        for suite in ("cifar10c", "all"):
            after = known[suite].index("snow") + 1
            known[suite] = (*known[suite][:after], "frost", *known[suite][after:])
    expanded: dict[str, None] = {}
    for name in names_or_none("corruptions", names):
        if name in known:
            expanded.update(dict.fromkeys(known[name]))
            continue
        if name == "frost":
            raise UsageError(
                "the corruption 'frost' needs photographs of frost, so it is only available "
                "from the published CIFAR-10-C files: give their folder with --cifar10c"
            )
        if ":" not in name:
            raise CORRUPTIONS.unknown(name, [*(known.keys() - CORRUPTIONS.keys()), "none"])
        spec = canonical(name)
        if spec in expanded:
            raise UsageError(f"corruptions names {spec!r} twice; name it once")
        expanded[spec] = None
    return tuple(expanded)
