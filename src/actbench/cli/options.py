"""What the command line's options take: counts, lists of names and numbers, folders."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import click


class Seeds(click.ParamType[Any]):
    """A count of seeds, or a list of them."""

    name = "N|LIST"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a whole number, or a list of them."""
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no count such as 5 and no list such as 3,7,11", param, ctx)
        return numbers if "," in str(value) else numbers[0]


class Folder(click.Path):
    """A folder, perhaps one that is not there yet."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the path, ``~`` being the home folder."""
        if value == "":
            self.fail("it is empty; give a folder", param, ctx)
        with contextlib.suppress(RuntimeError):  # --out=~/x, which the shell leaves as it is
            value = Path(value).expanduser()
        return super().convert(value, param, ctx)


class Names(click.ParamType[Any]):
    """Names or specs with commas between them."""

    name = "NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the list of texts."""
        # in pgd:steps=20,norm=l2,square the first comma stands within a spec
        return [part.strip() for part in re.split(r",(?!\s*\w+\s*=)", value)]


class Numbers(click.ParamType[Any]):
    """Numbers or fractions with commas between them; ``name`` and ``example`` are for people."""

    def __init__(self, name: str, example: str) -> None:
        self.name, self._example = name, example

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the list of floats."""
        try:
            parts = [part.partition("/") for part in value.split(",")]
            return [float(above) / float(below if bar else 1) for above, bar, below in parts]
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no list of numbers such as {self._example}", param, ctx)
