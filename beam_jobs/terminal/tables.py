"""Tables: drawn to fit a terminal, tab-separated for a pipe, an array for programs."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TextIO

from beam_jobs.notes import printable
from beam_jobs.terminal.text import (
    console,
    csv_cell,
    is_terminal,
    json_text,
    plain,
    shown,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

ROWS_ON_A_TERMINAL = 1_000
CELL_LIMIT = 300
"""Characters of a cell on a terminal: raw records may have 64 KiB."""

GAP = 2
_NARROWEST_TEXT = 24

STYLES = {
    "HOLD": "bold red",
    "WARN": "yellow",
    "INFO": "cyan",
    "PUBLISHED": "green",
    "UNCHANGED": "cyan",
    "HELD": "bold yellow",
    "FAILED": "bold red",
    "SUPERSEDED": "dim",
    "REJECTED": "dim",
}
"""Words with a colour, wherever they are a whole cell."""


def print_records(
    records: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    as_json: bool = False,
    optional: Sequence[str] = (),
) -> None:
    """Prints some columns of records on standard output; see `print_table`."""
    rows = [[record[name] for name in columns] for record in records]
    print_table(columns, rows, as_json, optional=optional)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    json: bool = False,
    *,
    optional: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Prints rows on standard output.

    On a terminal: a table that fits it. Long texts wrap; where that is not enough, optional
    columns are left out, and where even that is not enough, each row is a block of lines. Piped:
    a header and one line a row, tab-separated, in full. As JSON: an array of objects, one a line;
    columns of the same name get a number.

    Args:
        columns: their names.
        rows: as many values each.
        json: for programs.
        optional: columns that a narrow terminal can do without, the least wanted last.
        stream: instead of standard output.
    """
    out = stream or sys.stdout
    if json:
        names = _distinct(columns)
        objects = (json_text(dict(zip(names, row, strict=True))) for row in rows)
        print("[" + ",\n".join(objects) + "]", file=out, flush=True)
    elif is_terminal(out):
        _draw(columns, rows, optional, out)
    else:
        lines = ["\t".join(map(printable, columns))]
        lines += ["\t".join(map(plain, row)) for row in rows]
        print("\n".join(lines), file=out, flush=True)


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints rows on standard output as CSV (RFC 4180): a header, lines that end in CR LF.

    Columns of the same name get a number, lists and structures are JSON.
    """
    lines = [",".join(map(csv_cell, line)) for line in (_distinct(columns), *rows)]
    print("".join(f"{line}\r\n" for line in lines), end="", flush=True)


def _distinct(columns: Sequence[str]) -> list[str]:
    names: list[str] = []
    for column in columns:
        name, count = column, 0
        while name in names:
            count += 1
            name = f"{column}_{count}"
        names.append(name)
    return names


def _draw(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], optional: Sequence[str], out: TextIO
) -> None:
    screen = console(out)
    if not rows:
        screen.print("(no rows)", style="dim")
        return
    table = Cells.of(columns, rows[:ROWS_ON_A_TERMINAL])
    fitting = table.fitting(screen.width, optional)
    if fitting is None:
        _draw_records(table, screen)
        return
    screen.print(fitting.draw(screen.width))
    left_out = [name for name in table.columns if name not in fitting.columns]
    if left_out:
        note = f"Not shown for want of width: {', '.join(left_out)} (--json has all)"
        screen.print(note, style="dim")
    if len(rows) > ROWS_ON_A_TERMINAL:
        note = f"{ROWS_ON_A_TERMINAL:,} of {len(rows):,} rows; a pipe or --json gets all"
        screen.print(note, style="dim")


def _draw_records(table: "Cells", screen: "Console") -> None:
    from rich.table import Table

    for cells in table.rows:
        grid = Table.grid(padding=(0, GAP, 0, 0), expand=True)
        grid.add_column(style="bold", no_wrap=True, max_width=screen.width // 2)
        grid.add_column(ratio=1, overflow="fold")
        for column, cell in zip(table.columns, cells, strict=True):
            grid.add_row(_styled(column), _styled(cell))
        screen.print(grid)
        screen.print()


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        columns: their names, printable.
        rows: a text for every column, printable.
        numeric: bool for every column; numbers stand on the right and never wrap.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> "Cells":
        """The cells of values; columns of numbers are set to the right."""
        numeric = tuple(all(_is_number(row[i]) for row in rows) for i in range(len(columns)))
        texts = tuple(tuple(_cut(shown(value)) for value in row) for row in rows)
        return cls(tuple(map(printable, columns)), texts, numeric)

    def widths(self) -> list[int]:
        """Terminal columns that the widest cell of each column takes."""
        from rich.cells import cell_len

        columns = zip(self.columns, *self.rows, strict=True)
        return [max(map(cell_len, cells)) for cells in columns]

    def narrowest(self) -> list[int]:
        """The same where long texts wrap."""
        from rich.cells import cell_len

        return [
            width if number else min(width, max(_NARROWEST_TEXT, cell_len(name)))
            for width, number, name in zip(self.widths(), self.numeric, self.columns, strict=True)
        ]

    def fitting(self, width: int, optional: Sequence[str]) -> "Cells | None":
        """The table without the optional columns that do not fit; None where it never fits."""
        table = self
        unwanted = [name for name in optional if name in self.columns]
        while sum(table.narrowest()) + GAP * (len(table.columns) - 1) > width:
            if not unwanted:
                return None
            table = table.without(unwanted.pop())
        return table

    def without(self, column: str) -> "Cells":
        """The same without a column."""
        kept = [i for i, name in enumerate(self.columns) if name != column]
        return Cells(
            tuple(self.columns[i] for i in kept),
            tuple(tuple(row[i] for i in kept) for row in self.rows),
            tuple(self.numeric[i] for i in kept),
        )

    def draw(self, width: int) -> "Table":
        """A renderable of at most `width` terminal columns."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
        room = width - GAP * (len(self.columns) - 1)
        sizes = _shared_out(self.narrowest(), self.widths(), room)
        for name, size, number in zip(self.columns, sizes, self.numeric, strict=True):
            justify: Literal["left", "right"] = "right" if number else "left"
            table.add_column(_styled(name), width=size, justify=justify, overflow="fold")
        for row in self.rows:
            table.add_row(*map(_styled, row))
        return table


def _shared_out(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths between least and most that fill the room, the narrow columns served first."""
    widths = list(least)
    spare = room - sum(widths)
    hungry = sorted((i for i in range(len(widths)) if widths[i] < most[i]), key=lambda i: most[i])
    for position, i in enumerate(hungry):
        more = min(most[i] - widths[i], max(0, spare) // (len(hungry) - position))
        widths[i] += more
        spare -= more
    return widths


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cut(text: str) -> str:
    return text if len(text) <= CELL_LIMIT else text[: CELL_LIMIT - 1] + "…"


def _styled(text: str) -> "Text":
    from rich.text import Text

    return Text(text, style=STYLES.get(text, ""))
