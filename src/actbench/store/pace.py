"""How often to write: so rarely that writing takes at most a fixed share of the time."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Pace:
    """Limits the time that is spent on writing.

    Attributes:
        share: the largest share of the time that writing may take, in (0, 1).
    """

    share: float
    _due: float = field(default=0, init=False)

    def is_due(self) -> bool:
        """Return whether to write now.

        True at first, and then once 1 / ``share`` times the duration of the last write has passed
        since it.
        """
        return time.monotonic() >= self._due

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Take the duration of the block as that of a write."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self._due = end + (end - begin) / self.share
