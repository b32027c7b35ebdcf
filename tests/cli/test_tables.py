"""Tables in the terminal fit its width and lose nothing."""

from __future__ import annotations

import pytest

from actbench.cli.tables import name_length, print_table, shortened

ROWS = [
    ["relu", "a plain text that may be wrapped", "70.70"],
    ["relu", "another", "61.64"],
    ["leaky_relu:0.1", "short", "71.64"],
    ["my_package.my_module:MyActivation:alpha=0.5", "its own", "9.99"],
]
HEADERS = ["name", "text", "number"]


def printed(width: int, capsys: pytest.CaptureFixture[str], **options: object) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        capsys.readouterr()
        print_table(ROWS, HEADERS, wrapped={"text"}, right={"number"}, **options)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [200, 80, 60, 40, 30, 20])
def test_no_line_is_wider_than_the_terminal_and_every_cell_is_shown(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(width, capsys)
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    for number in ("70.70", "61.64", "71.64", "9.99"):
        assert number in words
    for part in ("relu", "another", "short", "own", "wrapped"):
        assert part in words


def test_a_name_is_shown_once_and_shortened_in_the_middle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(50, capsys)
    assert sum(line.startswith("relu ") for line in lines) == 1
    (own,) = (line for line in lines if line.startswith("my_pa"))
    assert "…" in own
    assert own.split()[0].endswith("alpha=0.5")
    assert any(ROWS[3][0] in line for line in printed(200, capsys))


def test_numbers_are_right_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.rstrip() for line in printed(200, capsys)]
    ends = {len(line) for line in lines if line.endswith(("70.70", "9.99", "number"))}
    assert len(ends) == 1


def test_a_terminal_too_narrow_for_the_table_shows_a_block_per_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "20")
        assert name_length(ROWS, HEADERS) is None
        print_table(ROWS, HEADERS)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "relu"
    assert lines.count("relu") == 1
    assert "  number: 70.70" in lines


def test_control_characters_are_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["a\x1b[31m", "\x07"]], ["name", "\x1b"])
    assert "\x1b" not in capsys.readouterr().out.replace("\x1b[0m", "")


@pytest.mark.parametrize(("longest", "text"), [(9, "abcdefghi"), (5, "ab…hi"), (1, "…")])
def test_text_is_shortened_in_the_middle(longest: int, text: str) -> None:
    assert shortened("abcdefghi", longest) == text
