"""A table with titled columns, for a terminal of any width and as Markdown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgate.report.rows import ABSENT, GAP, Line, Style
from qgate.report.text import count_cells, cut_middle, escape_markdown, pad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; its cells are found by its title."""

    title: str
    is_number: bool = False
    """Numbers stand at the right."""
    shortest: int | None = None
    """What is left of a cut cell at least, in terminal columns; None: it is never cut."""
    goes: int = 0
    """Where a terminal is narrow the column with the lowest number goes first; 0: it never goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line: escaped cells by title, absent where there is nothing to show."""

    cells: Mapping[str, str]
    style: Style = "plain"

    def get(self, title: str) -> str:
        return self.cells.get(title) or ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Entries below their titles; a column without any cell is left out."""

    columns: Sequence[Column]
    entries: Sequence[Entry] = field(default_factory=tuple)

    def width(self) -> int:
        """What it takes uncut, in terminal columns."""
        return _add_up(self._whole())

    def known(self) -> list[Column]:
        """The columns that have a cell."""
        return [
            column
            for column in self.columns
            if any(entry.cells.get(column.title) for entry in self.entries)
        ]

    def lines(self, width: int) -> list[Line]:
        """For a terminal: columns go first, then the widest cells are cut."""
        columns = self._fit(width)
        head = Entry(cells={column.title: column.title for column in columns}, style="bold")
        return [_render(entry, columns) for entry in (head, *self.entries)] if columns else []

    def markdown(self) -> list[str]:
        """With whole cells."""
        columns = self.known()
        rows = [[column.title for column in columns]]
        rows += [[entry.get(column.title) for column in columns] for entry in self.entries]
        numbers = [column.is_number for column in columns]
        return markdown_table(rows, numbers) if columns else []

    def _whole(self) -> dict[Column, int]:
        return {
            column: max(
                count_cells(text)
                for text in (column.title, *(entry.get(column.title) for entry in self.entries))
            )
            for column in self.known()
        }

    def _fit(self, width: int) -> dict[Column, int]:
        widths = self._whole()
        shortest = {
            column: min(whole, column.shortest or whole) for column, whole in widths.items()
        }
        for column in sorted((one for one in widths if one.goes), key=lambda one: one.goes):
            if _add_up(shortest) > width:
                del shortest[column]
        widths = {column: widths[column] for column in shortest}
        while _add_up(widths) > width:
            spare = [column for column in widths if widths[column] > shortest[column]]
            if not spare:
                break
            widths[max(spare, key=widths.__getitem__)] -= 1
        return widths


def markdown_table(rows: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[str]:
    """Markdown of rows, the first of them the titles; of each column whether it holds numbers."""
    head, *lines = [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows]
    rule = "".join("---:|" if is_number else "---|" for is_number in numbers)
    return [head, f"|{rule}", *lines]


def _add_up(columns: Mapping[Column, int]) -> int:
    return sum(columns.values()) + len(GAP) * (len(columns) - 1)


def _render(entry: Entry, columns: Mapping[Column, int]) -> Line:
    cells = []
    for column, width in columns.items():
        text = cut_middle(entry.get(column.title), width)
        air = " " * (width - count_cells(text))
        cells.append(air + text if column.is_number else pad(text, width))
    return Line(GAP.join(cells).rstrip(), entry.style)
