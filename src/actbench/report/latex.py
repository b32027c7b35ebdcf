"""Data frames → LaTeX: `summary.tex`."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from actbench.report.printable import printable
from actbench.report.sections import robustness_sections
from actbench.report.sentences import describe_recipe, variant_label
from actbench.report.tables import SENSITIVITY_NOTE, compact_rows, comparison_rows
from actbench.report.warnings import sensitivity_rows, study_warnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actbench.analysis.frames import Frames

# Brackets and stars are put into braces because they mean something at the start of a row.
_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",
    "`": "{`}",
    "'": "{'}",
    '"': "{''}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "←": r"$\gets$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "⚠": r"\textbf{(!)}",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "–": "{--}",
    "—": "{---}",
    "…": r"\ldots{}",
    "‘": "{`}",
    "’": "{'}",
    "“": "{``}",
    "”": "{''}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
_COMMANDS |= {
    unicodedata.lookup(f"GREEK SMALL LETTER {'lamda' if name == 'lambda' else name}"): rf"$\{name}$"
    for name in (*_GREEK.split(), "upsilon", "phi", "chi", "psi", "omega")
}
_ACCENTS = {
    "\N{COMBINING GRAVE ACCENT}": r"\`",
    "\N{COMBINING ACUTE ACCENT}": r"\'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": r"\^",
    "\N{COMBINING TILDE}": r"\~",
    "\N{COMBINING DIAERESIS}": r"\"",
    "\N{COMBINING MACRON}": r"\=",
    "\N{COMBINING BREVE}": r"\u",
    "\N{COMBINING DOT ABOVE}": r"\.",
    "\N{COMBINING CARON}": r"\v",
    "\N{COMBINING DOUBLE ACUTE ACCENT}": r"\H",
    "\N{COMBINING CEDILLA}": r"\c",
    "\N{COMBINING RING ABOVE}": r"\r",
}
_HEAD = r"""% By actbench. Compiles as it is. For a paper, copy the tables and load booktabs.
\documentclass{article}
\usepackage[a4paper, margin=2cm]{geometry}
\usepackage{booktabs}
\begin{document}
"""


def escape_latex(text: str) -> str:
    """Return LaTeX that sets the text as it reads, in ASCII, whatever characters it has.

    Accented Latin and small Greek letters and common signs become commands. Another character that
    LaTeX's own fonts lack is named by its code point, ``U+65E5``, rather than lost.
    """
    shown = " ".join(printable(text).split())
    return "".join(map(_escape_character, unicodedata.normalize("NFC", shown)))


def _escape_character(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii():
        return character
    apart = unicodedata.normalize("NFD", character)
    letter, accent = apart[0], apart[1:]
    if letter.isascii() and accent in _ACCENTS:
        return f"{_ACCENTS[accent]}{{{letter}}}"
    return f"U+{ord(character):04X}"


def to_latex(
    rows: Iterable[Sequence[str]], headers: Sequence[str], *, columns: str, caption: str
) -> str:
    """Return a booktabs table of text cells in a ``table`` environment, everything escaped.

    Args:
        rows: the cells, row by row.
        headers: one for each column.
        columns: the alignment of each column, ``l``, ``c`` or ``r``.
        caption: stands above the table.
    """
    head, *body = (" & ".join(map(escape_latex, row)) + r" \\" for row in (headers, *rows))
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering\small",
            rf"\caption{{{escape_latex(caption)}}}\medskip",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def latex_document(tables: Iterable[str]) -> str:
    """Return a whole document with the tables, as ``to_latex`` gives them."""
    return _HEAD + "\n\n".join(tables) + "\n\\end{document}\n"


def summary_latex(frames: Frames) -> str:
    """Return ``summary.tex``: the main table and the primary metrics' verdicts, as a document."""
    study = frames.study
    name = ", ".join(filter(None, [study.data_label, study.model, variant_label(study)]))
    recipe = describe_recipe(study)
    warnings = " ".join(f"Warning: {warning}" for warning in study_warnings(frames))
    tables = [
        to_latex(
            *compact_rows(frames),
            columns="lrrrrr",
            caption=f"{name}: accuracy, clean and under corruption, mean ± standard deviation "
            "over n seeds. Drop, in points, is clean less corrupted; mCE is the error under "
            f"corruption relative to that of {study.baseline}. {recipe} {warnings}",
        )
    ]
    if len(frames.sensitivity):
        rows, headers = sensitivity_rows(frames)
        tables.append(
            to_latex(
                rows,
                headers,
                columns="lllrrrrl",
                caption=f"{name}: with diverged trials scored as chance. {SENSITIVITY_NOTE}",
            )
        )
    tables += [
        to_latex(
            section.rows,
            section.headers,
            columns="ll" + "r" * (len(section.headers) - 2),
            caption=" ".join(
                [f"{name}: {section.title}.", *section.warnings, section.note, recipe]
            ),
        )
        for section in robustness_sections(frames)
        if not section.folded
    ]
    primary = frames.comparisons["metric"].isin(frames.primary())
    if primary.any():
        wanted = ["activation", "metric", "n", "difference", "95 % interval", "p (Holm)", "verdict"]
        rows, headers = comparison_rows(frames, frames.comparisons[primary])
        places = [headers.index(header) for header in wanted]
        tables.append(
            to_latex(
                [[row[place] for place in places] for row in rows],
                wanted,
                columns="llrrrrl",
                caption=f"{name}: differences from {study.baseline}, paired by seed, with n pairs. "
                f"Tests are at the level {frames.level():.3g}; equivalent means within "
                f"±{100 * study.margin:g} points. {recipe}",
            )
        )
    return latex_document(tables)
