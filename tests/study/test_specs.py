"""Specs: a name with checked parameters, or a user's object by import path."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import pytest

from actbench.errors import UsageError, did_you_mean
from actbench.models.user_code import import_object
from actbench.study.specs import Spec, parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = ("relu", "leaky_relu", "rrelu", "gelu")
DEFAULTS = {"slope": 0.1, "steps": 3, "centred": True, "kind": "none"}


def test_only_a_name_has_no_parameters() -> None:
    assert parse_spec(" relu ", "activation", KNOWN) == Spec("activation", "relu", imported=False)


def test_one_value_is_the_first_parameter() -> None:
    assert parse_spec("leaky_relu:0.2", "activation", KNOWN).bind(DEFAULTS) == {"slope": 0.2}


def test_parameters_by_name_take_the_type_of_their_default() -> None:
    spec = parse_spec("gelu:slope=1,steps=5,centred=false,kind=tanh", "activation", KNOWN)
    bound = spec.bind(DEFAULTS)
    assert bound == {"slope": 1.0, "steps": 5, "centred": False, "kind": "tanh"}
    assert isinstance(bound["slope"], float)


def test_equal_specs_have_equal_texts() -> None:
    def canonical(text: str) -> str:
        spec = parse_spec(text, "activation", KNOWN)
        return spec.canonical(spec.bind(DEFAULTS), main="slope")

    assert canonical("leaky_relu:0.10") == canonical("leaky_relu:1e-1") == "leaky_relu:0.1"
    assert canonical("leaky_relu:1.0") == canonical("leaky_relu:1") == "leaky_relu:1"
    assert canonical("leaky_relu:slope=0.10") == "leaky_relu:0.1"
    assert canonical("rrelu: steps = 2 , slope=0.5") == canonical("rrelu:slope=0.5,steps=2")
    assert canonical("relu:") == "relu"


def test_a_users_object_is_named_by_import_path_and_takes_parameters_by_name() -> None:
    spec = parse_spec("my_package.my_module:My.Act:alpha=0.3,deep=true", "activation", KNOWN)
    assert spec.name == "my_package.my_module:My.Act"
    assert spec.imported
    assert spec.parameters == {"alpha": 0.3, "deep": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lekay_relu:0.1", "unknown activation 'lekay_relu'; did you mean 'leaky_relu'?"),
        ("LeakyReLU", "did you mean 'leaky_relu'?"),
        ("RELU", "did you mean 'relu'?"),
        ("zzz", "known are gelu, leaky_relu, relu, rrelu"),
        ("", "unknown activation ''"),
        (":", "unknown activation"),
        ("a b:c", "unknown activation"),
        ("1module:Name", "unknown activation"),
        ("rrelu:slope=", "not of the form key=value"),
        ("rrelu:=1", "not of the form key=value"),
        ("rrelu:slope=1,,steps=1", "not of the form key=value"),
        ("rrelu:slope=1,2", "not of the form key=value"),
        ("rrelu:slope=1,slope=2", "sets 'slope' twice"),
    ],
)
def test_an_unknown_spec_is_refused_with_the_closest_known_name(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_spec(text, "activation", KNOWN)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gelu:slop=1", "has no parameter 'slop'; did you mean 'slope'?"),
        ("gelu:slope=nan", "slope is nan; it must be finite"),
        ("gelu:slope=-inf", "slope is -inf; it must be finite"),
        ("gelu:slope=1e400", "slope is inf; it must be finite"),
        pytest.param("gelu:slope=" + "9" * 400, "it must be finite", id="400 digits"),
        pytest.param("gelu:slope=" + "9" * 5000, "it must be finite", id="5,000 digits"),
        ("gelu:slope=true", "slope is True; it must be a number"),
        ("gelu:slope=steep", "slope is 'steep'; it must be a number"),
        ("gelu:0.1,0.2", "slope is '0.1,0.2'; it must be a number"),
        ("gelu:steps=2.5", "steps is 2.5; it must be an integer"),
        ("gelu:centred=1", "centred is 1; it must be true or false"),
        ("gelu:kind=3", "kind is 3; it must be text"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_is_expected(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_spec(text, "activation", KNOWN).bind(DEFAULTS)
    assert message in str(error.value)
    assert len(str(error.value)) < 250


def test_a_name_without_parameters_takes_none() -> None:
    with pytest.raises(UsageError, match="takes no parameter, but was given 16"):
        parse_spec("relu:16", "activation", KNOWN).bind({})
    with pytest.raises(UsageError, match="'slope'; it takes none"):
        parse_spec("relu:slope=16", "activation", KNOWN).bind({})


def test_a_users_object_is_found_by_its_import_path() -> None:
    assert import_object(parse_spec("math:inf", "activation", KNOWN)) == math.inf
    nested = parse_spec("os:path.join", "activation", KNOWN)
    assert import_object(nested) is __import__("os").path.join


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module_here:Act", "cannot import 'no_such_module_here': ModuleNotFoundError"),
        ("math:flor", "'math' has no 'flor'; did you mean 'floor'?"),
        ("os:path.jion", "'os' has no 'jion'; did you mean 'join'?"),
        ("..math:floor", "unknown activation"),
        ("math.:floor", "cannot import"),
    ],
)
def test_an_import_path_to_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        import_object(parse_spec(text, "activation", KNOWN))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "fault", ["1 / 0", "raise SystemExit(5)", "def", "raise Exception('a\\nb')"]
)
def test_a_users_module_that_fails_to_import_is_one_line(
    fault: str, user_module: Callable[[str], str]
) -> None:
    with pytest.raises(UsageError, match="cannot import") as error:
        import_object(parse_spec(f"{user_module(fault)}:Act", "activation", KNOWN))
    assert "\n" not in str(error.value)


def test_a_module_in_the_current_folder_is_found(
    user_module: Callable[[str], str], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = user_module("value = 3")
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in {"", str(tmp_path)}])
    assert import_object(parse_spec(f"{name}:value", "activation", KNOWN)) == 3


def test_the_closest_name_is_suggested_or_all_of_them() -> None:
    assert did_you_mean("gellu", KNOWN) == "; did you mean 'gelu'?"
    assert did_you_mean("xyz", ["b", "a"]) == "; known are a, b"
    assert did_you_mean("xyz", []) == ""
