"""summary.tex compiles with any names, and shows the values of the tables."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actbench.report.latex import escape_latex, latex_document, summary_latex, to_latex
from actbench.report.table import Table
from actbench.report.write import derived_files
from helpers.made_studies import made_frames

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = (
    r"\input{/etc/passwd}",
    r"\end{document}",
    r"50 % of $x_1^2$ & {all} #1 ~ \\",
    "[0.1]",
    "*",
    "−1 ± 2 × 3 → 4 ≤ 5 …",
    "Ångström, naïve, Šťastný, straße, λ, 日本, 🙂",
    "<b>|`''\"--",
    "?`!`,,<<>>",
)
RELU = [0.80, 0.81, 0.80, 0.82, 0.81]
BETTER = [0.84, 0.85, 0.84, 0.86, 0.86]

pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def compiled(source: str, folder: Path) -> str:
    """Return pdflatex's log of the document; an error fails the test."""
    (folder / "summary.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "summary"],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "summary.log").read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("leaky_relu:0.1", r"leaky\_relu:0.1"),
        ("100 %", r"100 \%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("−0.5 ± 0.1", r"$-$0.5 $\pm$ 0.1"),
        ("[+0.1, +0.2]", "{[}+0.1, +0.2{]}"),
        ("é Š e\N{COMBINING ACUTE ACCENT}", r"\'{e} \v{S} \'{e}"),
        ("λ", r"$\lambda$"),
        ("日", "U+65E5"),
        ("two\nlines ", "two lines"),
    ],
)
def test_text_is_escaped(text: str, shown: str) -> None:
    assert escape_latex(text) == shown


@settings(deadline=None, derandomize=True)
@given(st.text())
def test_escaped_text_is_ascii_with_balanced_braces_and_known_commands(text: str) -> None:
    escaped = escape_latex(text)
    assert escaped.isascii()
    bare = re.sub(r"\\[^a-zA-Z]", "", escaped)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    commands = set(re.findall(r"\\([a-zA-Z]+)", escaped))
    assert commands.isdisjoint({"input", "include", "write", "def", "end", "begin", "catcode"})
    assert not set(re.sub(r"\\.", "", escaped)) & set("%#&_~")


def test_a_table_has_a_row_per_row_and_a_cell_per_column() -> None:
    table = to_latex(
        Table("", ["name", "n"], [["a", "1"], ["b", "2"]]), columns="lr", caption="Two"
    )
    assert "a & 1 \\\\\nb & 2 \\\\\n\\bottomrule" in table
    assert "name & n \\\\\n\\midrule" in table
    assert r"\caption{Two}" in table
    assert r"\begin{tabular}{lr}" in table


def test_the_document_shows_means_with_n_and_verdicts_of_the_primary_metrics() -> None:
    document = summary_latex(made_frames({"relu": RELU, "leaky_relu:0.1": BETTER}))
    assert r"relu & 5 & 80.80 $\pm$ 0.84 & 70.80 $\pm$ 0.84 & 10.00 $\pm$ 0.00 & 100.0" in document
    verdicts = re.findall(
        r"^leaky\\_relu:0.1 & (\w+) accuracy, points & 5 & \+4.20 .* (\w+) ", document, re.MULTILINE
    )
    assert verdicts == [("clean", "better"), ("corrupted", "better")]
    assert "5 seeds, 1 epoch of batch 64" in document


def test_captions_are_short_and_what_they_leave_out_is_below_the_table() -> None:
    accuracies = {"relu": RELU, "leaky_relu:0.1": BETTER}
    document = summary_latex(made_frames(accuracies, model="cnn"))
    captions = re.findall(r"\\caption\{(.*)\}\\medskip", document)
    assert len(captions) == document.count(r"\begin{table}") > 2
    assert max(map(len, captions)) < 100
    below = document[document.index(r"\bottomrule") :]
    assert r"\footnotesize Drop, in points, is clean less corrupted accuracy" in below


def test_the_document_is_among_the_derived_files() -> None:
    frames = made_frames({"relu": RELU, "leaky_relu:0.1": BETTER})
    assert derived_files(frames)["summary.tex"] == summary_latex(frames)


@pdflatex
@pytest.mark.parametrize(
    ("accuracies", "changes"),
    [
        ({"relu": RELU, "leaky_relu:0.1": BETTER}, {}),
        ({"relu": [0.8]}, {"corruptions": ()}),
        (
            {"relu": RELU, **dict.fromkeys(HOSTILE, BETTER)},
            {"dataset_name": HOSTILE[0], "model": HOSTILE[2]},
        ),
    ],
    ids=["usual", "one trial", "hostile names"],
)
def test_the_document_compiles(
    accuracies: dict[str, list[float]], changes: dict[str, object], tmp_path: Path
) -> None:
    compiled(summary_latex(made_frames(accuracies, **changes)), tmp_path)


@pdflatex
def test_every_printable_character_can_be_set(tmp_path: Path) -> None:
    characters = [chr(code) for code in range(32, 0x500) if chr(code).isprintable()]
    rows = [[character, f"{character}{character} x"] for character in characters]
    tables = [
        to_latex(
            Table("", ["#", "%"], rows[at : at + 40]),
            columns="lr",
            caption="".join(characters[at:][:9]),
        )
        for at in range(0, len(rows), 40)
    ]
    # a page for each table, as LaTeX holds back a few dozen floats at most
    source = latex_document("\n\\clearpage\n" + table for table in tables)
    assert "Missing character" not in compiled(source, tmp_path)
