"""Corruptions of the user's own: functions of (images, severity, generator), imported and checked.

The images are float32 (N, 3, H, W) in [0, 1], the severity is an integer from 1 to 5, and random
numbers come from the generator, a ``torch.Generator`` on the CPU. The result is new images of the
same shape, of a floating-point type, in [0, 1].
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from actbench.errors import UsageError
from actbench.models.global_state import settings_kept
from actbench.models.user_code import import_object
from actbench.study.levels import SEVERITIES
from actbench.study.registry import Registry
from actbench.study.specs import is_import_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Generator, Tensor

    from actbench.study.specs import Spec

    Own = Callable[[Tensor, int, Generator], Any]

CHECKED_IMAGES = 4
_OWN: Registry[Any] = Registry("corruption", importable=True)


def import_corruption(spec: Spec) -> Own:
    """Return the user's function, wrapped so that its result is checked.

    Raises:
        UsageError: the import fails, or what it gives does not take three arguments.
    """
    function = import_object(spec)
    expected = f"corruption {spec.name!r} must be a function of (images, severity, generator)"
    if not callable(function) or inspect.isclass(function):
        raise UsageError(f"{expected}; it is {repr(function)[:60]}")
    try:
        inspect.signature(function).bind("images", "severity", "generator")
    except TypeError as error:
        raise UsageError(f"{expected}, but: {error}") from None
    except ValueError:  # some built-in functions have no signature
        pass

    def checked(images: Tensor, severity: int, generator: Generator) -> Tensor:
        try:
            with settings_kept(), torch.no_grad():
                # one thread, on which a sum's order and so its last bit may depend
                torch.set_num_threads(1)
                with settings_kept(spec.name):
                    result = function(images, severity, generator)
        except (Exception, SystemExit) as error:  # a user's function may raise anything
            reason = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise UsageError(
                f"corruption {spec.name!r} fails at severity {severity}: {reason}"
            ) from error
        problem = _problem(result, images)
        if problem:
            raise UsageError(f"corruption {spec.name!r} at severity {severity} {problem}")
        return result.detach().to(device="cpu", dtype=torch.float32)  # type: ignore[no-any-return]

    return checked


def _problem(result: Any, images: Tensor) -> str:
    """Return what is wrong with a result for some images; empty if nothing is."""
    if not isinstance(result, torch.Tensor):
        return f"returns {type(result).__name__}; it must return a torch.Tensor"
    if not result.is_floating_point():
        kind = str(result.dtype).removeprefix("torch.")
        return f"returns {kind}; it must return floating-point values in [0, 1]"
    if result.shape != images.shape:
        return (
            f"turns shape {tuple(images.shape)} into {tuple(result.shape)}; it must keep the shape"
        )
    if not bool(result.isfinite().all()):
        return "returns values that are not finite; they must be in [0, 1]"
    low, high = float(result.min()), float(result.max())
    if low < 0 or high > 1:
        return f"returns values from {low:.4g} to {high:.4g}; they must be in [0, 1] (clamp them)"
    return ""


def severity_of(function: Own, severity: int) -> Callable[[Tensor, Generator], Tensor]:
    """Return a user's function at one severity."""
    return lambda images, generator: function(images, severity, generator)


def check_own_corruptions(specs: Iterable[str], images: Tensor) -> None:
    """Check the user's own corruptions among some specs, each at all severities.

    Args:
        specs: canonical specs; others than import paths are left out.
        images: uint8 (N, H, W, 3), of which the first few are used.

    Raises:
        UsageError: one raises, changes its argument, draws random numbers from elsewhere than the
            generator, or returns something other than images of the same shape in [0, 1].
    """
    few = images[:CHECKED_IMAGES].cpu().permute(0, 3, 1, 2).contiguous().float().div_(255)
    for text in filter(is_import_path, specs):
        spec = _OWN.parse(text)
        function = import_corruption(spec)
        for severity in SEVERITIES:
            results = []
            for _ in range(2):
                given = few.clone()
                results.append(function(given, severity, torch.Generator().manual_seed(severity)))
                if not torch.equal(given, few):
                    raise UsageError(
                        f"corruption {text!r} changes its argument at severity {severity}; it must "
                        "return new images (images.clone() makes a copy)"
                    )
            if not torch.equal(*results):
                raise UsageError(
                    f"corruption {text!r} gives other images for the same images and generator at "
                    f"severity {severity}; all random numbers must come from the generator"
                )
