"""A constant of a corruption: its type, range and help, and the published values by image size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actbench.study.levels import SEVERITIES
from actbench.study.registry import Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actbench.study.fields import Rule
    from actbench.study.specs import Value

# hendrycks/robustness, ImageNet-C/create_c: make_cifar_c.py, make_tinyimagenet_c.py and
# make_imagenet_c.py, by the side in pixels of the images that each was made for
PUBLISHED_SIDES = (32, 64, 224)
DEFAULT_SEVERITY = 3


def published_side(height: int, width: int) -> int:
    """Return the size of which an image takes the published constants, by its shorter side.

    Below 48 pixels that is 32, below 128 it is 64, and from there 224.
    """
    side = min(height, width)
    return 32 if side < 48 else 64 if side < 128 else 224


@dataclass(frozen=True)
class Constant(Parameter):
    """A parameter with its published values: ``published[side][severity - 1]``.

    ``default`` only gives the type; a constant that a spec leaves out has, at every level, the
    published value of severity 3 for the size of the images.
    """

    published: Mapping[int, tuple[Value, ...]] = field(default_factory=dict)

    def at(self, severity: int, side: int) -> Value:
        """Return the value published for a severity and one of ``PUBLISHED_SIDES``."""
        return self.published[side][severity - 1]


def constant(
    help: str,  # noqa: A002 - as in ``setting``
    rule: Rule,
    at_32: tuple[Value, ...],
    at_64: tuple[Value, ...] | None = None,
    at_224: tuple[Value, ...] | None = None,
) -> Constant:
    """Return a constant; a size that is left out has the values of the next smaller one."""
    middle = at_64 or at_32
    values = (at_32, middle, at_224 or middle)
    default = at_32[DEFAULT_SEVERITY - 1]
    for row in values:
        if len(row) != len(SEVERITIES) or any(type(value) is not type(default) for value in row):
            raise TypeError(f"{help}: {row} is not {len(SEVERITIES)} values of one type")
    return Constant(default, rule, help, dict(zip(PUBLISHED_SIDES, values, strict=True)))
