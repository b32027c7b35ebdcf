"""Messages of errors: one line that any output can show."""

from __future__ import annotations

from actbench.errors import in_a_line


def test_a_message_is_one_short_line_that_can_be_encoded() -> None:
    assert in_a_line(OSError("no\n file\udce4")) == "OSError: no file\\udce4"
    assert in_a_line(KeyError()) == "KeyError"
    assert in_a_line(ValueError("x" * 500)) == f"ValueError: {'x' * 200}"
