"""Users' text without control characters, and as long as there is room."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return the text with U+FFFD in place of each character that is not visible.

    These are Unicode's categories C: control characters, with which a name or reason could control
    a terminal; marks that change the direction of writing; surrogates; code points without a
    character. Line feeds, tabs and spaces of any width stay; other white space, such as a carriage
    return, becomes a space.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def shortened(text: str, longest: int) -> str:
    """Return the text with its middle removed if it is longer than ``longest`` (at least 1)."""
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    category = unicodedata.category(character)
    if character.isspace():
        return character if category == "Zs" else " "
    return "\ufffd" if category[0] == "C" else character
