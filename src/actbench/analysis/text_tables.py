"""CSV and Markdown → tables of text cells."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass

from actbench.errors import UsageError

_RULE = re.compile(r"\s*:?-+:?\s*")


@dataclass(frozen=True)
class ParsedTable:
    """A table of text cells, with the line of the text in which each row is."""

    headers: list[str]
    rows: list[list[str]]
    lines: list[int]


def parse_tables(text: str, source: str) -> list[ParsedTable]:
    """Return the tables of a text: every table of a Markdown text, or the one that a CSV is.

    Cells that a row lacks are empty. The delimiter of a CSV is the comma, semicolon or tab that
    its first line has most of.

    Args:
        text: Markdown or CSV.
        source: where it is from, for messages.

    Raises:
        UsageError: there is no table in it, or a row has more cells than there are headers.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    tables = _markdown_tables(lines, source)
    if tables:
        return tables
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise UsageError(f"{source} is empty; it must be a CSV or Markdown table")
    delimiter = max(",;\t", key=filled[0].count)
    reader = csv.reader(
        io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        read = [([cell.strip() for cell in row], reader.line_num) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{source}, line {reader.line_num}: not valid CSV: {error}") from None
    found = [(row, line) for row, line in read if any(row)]
    headers = found[0][0] if found else []
    if len(headers) < 2 or len(found) < 2:
        raise UsageError(
            f"{source} has no table: there must be a line of column names and a line for each row, "
            "in CSV or Markdown"
        )
    return [_table(headers, found[1:], source)]


def _markdown_tables(lines: list[str], source: str) -> list[ParsedTable]:
    tables = []
    at = 0
    while at + 1 < len(lines):
        headers, rule = _cells(lines[at]), _cells(lines[at + 1])
        is_table = len(rule) > 1 and len(rule) == len(headers) and all(map(_RULE.fullmatch, rule))
        at += 1
        if not is_table:
            continue
        rows = []
        at += 1
        while at < len(lines) and "|" in lines[at]:
            rows.append((_cells(lines[at]), at + 1))
            at += 1
        tables.append(_table(headers, [row for row in rows if any(row[0])], source))
    return tables


def _cells(line: str) -> list[str]:
    line = line.strip()
    if "|" not in line:
        return []
    line = line.removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]


def _table(headers: list[str], rows: list[tuple[list[str], int]], source: str) -> ParsedTable:
    width = len(headers)
    for row, line in rows:
        if any(row[width:]):
            raise UsageError(
                f"{source}, line {line}: the row has {len(row)} cells, but there are {width} "
                "column names"
            )
    cells = [(row + [""] * width)[:width] for row, _ in rows]
    return ParsedTable(headers, cells, [line for _, line in rows])
