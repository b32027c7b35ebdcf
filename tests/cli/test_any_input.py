"""Any input of a user is accepted or refused in one line: generated inputs."""

from __future__ import annotations

import contextlib
import string
from dataclasses import fields
from typing import TYPE_CHECKING

import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from actbench.errors import UsageError
from actbench.study.activations import ACTIVATIONS
from actbench.study.specs import parse_spec
from actbench.study.study import Study, Trial, trial_id
from actbench.study.toml import study_from_toml, study_to_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = [field.name for field in fields(Study)]
HOSTILE = ("../../etc/passwd", "a\0b", "x" * 300, "長い", "=HYPERLINK(1)", "\r\u2028\x85", "")
# mostly the special characters of the spec grammar, where most mistakes would be
SPEC_LIKE = st.lists(st.sampled_from([*ACTIVATIONS, *":=,._- \n", "a", "1", "nan", "9" * 400]))
TEXTS = st.text() | st.sampled_from(HOSTILE) | SPEC_LIKE.map("".join)
SCALARS = st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=2)
)
FILES = st.dictionaries(st.sampled_from(FIELDS) | st.text(), VALUES, max_size=2).map(tomli_w.dumps)


@contextlib.contextmanager
def or_refused_in_one_line(source: str = "") -> Iterator[None]:
    """Accept in the block no error, or a usage error of one line that contains ``source``."""
    try:
        yield
        return
    except UsageError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert source in message


@given(FILES | st.text())
def test_any_study_file_gives_a_study_that_can_be_stored_or_is_refused(text: str) -> None:
    with or_refused_in_one_line("'my.toml'"):
        study = study_from_toml(text, "'my.toml'")
        assert study_from_toml(study_to_toml(study), "'stored'") == study


@given(TEXTS)
def test_any_spec_has_its_parts_or_is_refused(text: str) -> None:
    with or_refused_in_one_line():
        spec = parse_spec(text, "activation", ACTIVATIONS)
        assert spec.imported or spec.name in ACTIVATIONS
        assert set(spec.bind({"slope": 0.1, "deep": True})) <= {"slope", "deep"}


@given(TEXTS, st.integers(0, 2**63))
@example("../..", 0)
def test_a_trial_of_any_activation_has_a_plain_file_name(activation: str, seed: int) -> None:
    name = trial_id(Study(), Trial(activation, seed))
    assert set(name) <= set(string.ascii_letters + string.digits + ".=-_")
    assert not name.startswith(".")
    assert len(name) <= 120
