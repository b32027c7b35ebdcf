"""Data frames → LaTeX: `summary.tex`."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from actbench.report.printable import printable
from actbench.report.robustness import robustness_tables
from actbench.report.sentences import describe_study, variant_label
from actbench.report.tables import compact_table, comparison_table, sensitivity_table
from actbench.report.warnings import study_warnings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actbench.analysis.frames import Frames
    from actbench.report.table import Table

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
    """Return LaTeX in ASCII that shows exactly this text.

    Accented Latin letters, small Greek letters and common signs become commands. Another character
    that LaTeX's own fonts lack is shown as its code point, ``U+65E5``.
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


def to_latex(table: Table, *, columns: str, caption: str, note: str = "") -> str:
    """Return a booktabs table in a ``table`` environment, everything escaped.

    Args:
        table: its headers and cells are shown.
        columns: the alignment of each column, ``l``, ``c`` or ``r``.
        caption: shown above the table; one short sentence, as a paper lists it.
        note: shown below the table, in small print.
    """
    lines = (table.headers, *table.rows)
    head, *body = (" & ".join(map(escape_latex, cells)) + r" \\" for cells in lines)
    below = rf"\par\medskip\parbox{{\linewidth}}{{\footnotesize {escape_latex(note)}}}"
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
            *([below] if note else []),
            r"\end{table}",
        ]
    )


def latex_document(tables: Iterable[str]) -> str:
    """Return a complete document with tables as ``to_latex`` returns them."""
    return _HEAD + "\n\n".join(tables) + "\n\\end{document}\n"


def summary_latex(frames: Frames) -> str:
    """Return ``summary.tex``: the main table and the primary metrics' verdicts, as a document."""
    study = frames.study
    name = ", ".join(filter(None, [study.data_label, study.model, variant_label(study)]))
    warnings = " ".join(f"Warning: {warning}" for warning in study_warnings(frames))
    means = compact_table(frames)
    note = (
        "Drop, in points, is clean less corrupted accuracy; mCE is the error under corruption "
        f"relative to that of {study.baseline}. "
    )
    tables = [
        to_latex(
            means,
            columns="l" + "r" * (len(means.headers) - 1),
            caption=f"{name}: accuracy, mean ± standard deviation over n seeds.",
            note=f"{note if study.corruptions else ''}{describe_study(frames)} {warnings}",
        )
    ]
    sensitivity = sensitivity_table(frames)
    if sensitivity.rows:
        caption = f"{name}: diverged trials scored as chance."
        tables.append(
            to_latex(sensitivity, columns="lllrrrrl", caption=caption, note=sensitivity.note)
        )
    tables += [
        to_latex(
            table,
            columns="ll" + "r" * (len(table.headers) - 2),
            caption=f"{name}: {table.title}.",
            note=" ".join([*table.warnings, table.note]),
        )
        for table in robustness_tables(frames)
        if not table.folded
    ]
    primary = comparison_table(frames, frames.primary_comparisons)
    if primary.rows:
        tables.append(
            to_latex(
                primary.columns(
                    "activation",
                    "metric",
                    "n",
                    "difference",
                    "95 % interval",
                    "p (Holm)",
                    "verdict",
                ),
                columns="llrrrrl",
                caption=f"{name}: differences from {study.baseline}, paired by seed, n pairs.",
                note=f"Tests are at the level {frames.level:.3g}; equivalent means within "
                f"±{100 * study.margin:g} points.",
            )
        )
    return latex_document(tables)
