"""A user's function, ``package.module:name``, that returns the images of a study."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from actbench.data.arrays import NAMES, array_content
from actbench.data.dataset_items import dataset_content
from actbench.data.folders import Source
from actbench.errors import UsageError, in_a_line
from actbench.models.user_code import import_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from actbench.study.specs import Spec

FORMS = (
    "x_train, y_train, x_test and y_test (in this order, in Keras's pairs, or as a dict), or a "
    "training and a test data set"
)


def function_source(spec: Spec, data_dir: str) -> Source:
    """Return the images that a user's function returns.

    It is called with the parameters of the spec, and with ``data_dir`` if it has a parameter of
    that name. It is called in each run, because only its result says whether the data is the same.

    Raises:
        UsageError: it cannot be imported, or does not take these parameters.
    """
    function = import_object(spec)
    if not callable(function):
        raise UsageError(f"dataset {spec.name!r} is not a function; it must return {FORMS}")
    if spec.value is not None:
        raise UsageError(f"dataset {spec.name!r}: give its parameters by name")
    parameters = {**spec.parameters, **_data_dir(spec, function, data_dir)}
    return Source(None, lambda size, _: _content(spec, function, parameters, size))


def _data_dir(spec: Spec, function: Callable[..., Any], data_dir: str) -> dict[str, str]:
    try:
        known = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have none
        known = []
    if "data_dir" in known and data_dir:
        return {"data_dir": data_dir}
    if data_dir:
        raise UsageError(
            f"dataset {spec.name!r} has no parameter data_dir, and --data-dir was given"
        )
    return {}


def _content(
    spec: Spec, function: Callable[..., Any], parameters: Mapping[str, Any], size: int
) -> dict[str, Any]:
    from actbench.models.global_state import settings_kept

    try:
        with settings_kept(spec.name):
            values = function(**parameters)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise UsageError(f"dataset {spec.name!r} fails: {in_a_line(error)}") from error
    try:
        return content_of(values, size)
    except UsageError as error:
        raise UsageError(f"dataset {spec.name!r}: {error}") from None


def content_of(values: Any, size: int) -> dict[str, Any]:
    """Return the content of a ``Source`` from what a user's function returned: see ``FORMS``.

    Raises:
        UsageError: it is none of these forms, or its arrays or items are refused.
    """
    if isinstance(values, Mapping) and set(NAMES) <= set(values) <= {*NAMES, "classes"}:
        return array_content([values[name] for name in NAMES], size, values.get("classes"))
    if isinstance(values, (tuple, list)):
        if len(values) == 4:
            return array_content(values, size)
        if len(values) == 2 and all(isinstance(v, (tuple, list)) and len(v) == 2 for v in values):
            return array_content([*values[0], *values[1]], size)
        if len(values) == 2:
            return dataset_content(values[0], values[1], size)
    raise UsageError(f"it returns {_described(values)}; it must return {FORMS}")


def _described(values: Any) -> str:
    if isinstance(values, Mapping):
        return f"a dict of {', '.join(map(str, values)) or 'nothing'}"[:80]
    if isinstance(values, (tuple, list)):
        return f"{len(values)} values"
    return f"a value of type {type(values).__name__}"
