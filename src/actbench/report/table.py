"""The one table type of Markdown, LaTeX, HTML and the terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Table:
    """A table of text cells; the first cell of a row names the row.

    Attributes:
        title: what the table shows.
        headers: one per column.
        rows: the cells, row by row, as many as there are headers.
        id: the table's name within an HTML page.
        note: the text below the table.
        warnings: sentences above the table.
        folded: whether the table is long and of secondary interest.
    """

    title: str
    headers: list[str]
    rows: list[list[str]]
    id: str = ""
    note: str = ""
    warnings: tuple[str, ...] = ()
    folded: bool = False

    @property
    def text_headers(self) -> set[str]:
        """The headers of the columns that hold words: the first, and any with a cell of words."""
        return {
            header
            for at, header in enumerate(self.headers)
            if at == 0 or any(row[at][:1].isalpha() for row in self.rows)
        }

    def columns(self, *headers: str) -> Table:
        """Return the table with only these columns, in this order."""
        positions = [self.headers.index(header) for header in headers]
        rows = [[row[position] for position in positions] for row in self.rows]
        return replace(self, headers=list(headers), rows=rows)
