"""A study as TOML, and back."""

from __future__ import annotations

import textwrap
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError, did_you_mean
from actbench.study.fields import settings_of, shown
from actbench.study.recipe import renamed
from actbench.study.study import STUDY_FORMAT, Study, as_plain

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = (1, STUDY_FORMAT)


def study_to_toml(study: Study) -> str:
    """Return the study as TOML, each field below a comment with its meaning and range.

    ``study_from_toml`` gives the study back.
    """
    import tomli_w  # not needed to run trials

    values = as_plain(study)
    parts = [f"format = {STUDY_FORMAT}\n"]
    for item in settings_of(Study):
        text = f"{item.help} Values: {item.rule.expected}."
        comment = textwrap.fill(
            text, 98, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        line = tomli_w.dumps({item.name: values[item.name]}, multiline_strings=False)
        parts.append(f"{comment}\n{line}")
    return "\n".join(parts)


def study_values(text: str, source: str, *, stored: bool = False) -> dict[str, Any]:
    """Return the fields that a study's TOML text sets, checked by name but not yet by value.

    Args:
        text: the TOML document.
        source: where it is from, for messages.
        stored: whether it is from a results folder, whose trials are not run again if it has the
            format of an earlier version.

    Raises:
        UsageError: it is not TOML, has an unknown key, or another format.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, or too many digits or brackets
        reason = str(error).splitlines()[0]
        raise UsageError(f"{source} is not valid TOML: {reason}") from None
    found = values.pop("format", STUDY_FORMAT)
    if type(found) is not int or found not in FORMATS:
        raise UsageError(
            f"{source} has format {shown(found)}; this actbench reads "
            f"{' and '.join(map(str, FORMATS))}"
        )
    if "looks" in values:  # the name that earlier versions wrote
        values.setdefault("interim_analyses", values.pop("looks"))
    if found == 1 and values.pop("cifar10c_checksum", "") and not stored:
        raise UsageError(
            f"{source} has a cifar10c_checksum, which was of all published files together; remove "
            "it to run the study with the present files"
        )
    if found == 1:  # without a schedule
        values.setdefault("schedule", "constant")
    try:
        values = renamed(values)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    known = {item.name for item in fields(Study)}
    for key in values:
        if key not in known:
            raise UsageError(f"{source} has an unknown key {key!r}{did_you_mean(key, known)}")
    return values


def format_of(text: str) -> object:
    """Return the format number of a study's TOML text, which may not be TOML."""
    try:
        return tomllib.loads(text).get("format", STUDY_FORMAT)
    except (ValueError, RecursionError):
        return None


def study_from_toml(text: str, source: str) -> Study:
    """Return the study that the TOML text of a results folder describes (see ``study_values``).

    Without ``kernels`` it was stored by a version that had only PyTorch's.

    Raises:
        UsageError: as ``study_values``, or a value is wrong.
    """
    try:
        return Study(**{"kernels": "torch", **study_values(text, source, stored=True)})
    except UsageError as error:
        message = str(error)
        raise UsageError(message if source in message else f"{source}: {message}") from None


def read_config(path: Path) -> dict[str, Any]:
    """Return the fields that the TOML file at ``path`` sets (see ``study_values``).

    Raises:
        UsageError: the file cannot be read, or see ``study_values``.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read the configuration {str(path)!r}: {reason}") from None
    return study_values(text, str(path))
