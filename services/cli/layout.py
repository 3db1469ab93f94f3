"""Layout of tables: columns that fit the terminal, else one record per row."""

import io
import os
import shutil
import sys
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between columns
NARROWEST = 10  # width of a text column, else records are used
UNLIMITED = 100_000


def width() -> int:
    """Return the width of the terminal, 80 if unknown; no limit in a pipe or file."""
    return shutil.get_terminal_size(fallback=(80, 24)).columns if sys.stdout.isatty() else UNLIMITED


def styled() -> bool:
    """Whether headings are bold: at a terminal that is not dumb, without NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], total: bool, title: str = ""
) -> str:
    """Format rows of text; with `total` the last row is bold."""
    available = width()
    widths = _fit(columns, rows, numeric=numeric, available=available)
    lines = [*_folded(title, available), ""] if title else []
    if widths is None:
        return "\n".join([*lines, *_records(columns, rows, available=available)]) + "\n"
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style=_bold(), show_footer=False)
    for name, size, right in zip(columns, widths, numeric, strict=True):
        grid.add_column(_plain(name), width=size, justify="right" if right else "left", overflow="fold")
    for index, row in enumerate(rows):
        last = total and index == len(rows) - 1
        grid.add_row(*(_plain(text) for text in row), style=_bold() if last else None)
    return "\n".join([*lines, *_render(grid, sum(widths) + GAP * len(widths))]) + "\n"


def _fit(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], available: int
) -> list[int] | None:
    """Return the width of each column; None if they do not fit. Numbers are never wrapped."""
    cells = [max((cell_len(row[index]) for row in rows), default=0) for index in range(len(columns))]
    room = available - GAP * (len(columns) - 1)
    widths = [max(cell, cell_len(name)) for cell, name in zip(cells, columns, strict=True)]
    if sum(widths) > room:  # headings on several lines
        words = [max(map(cell_len, name.split()), default=0) for name in columns]
        widths = [max(cell, word) for cell, word in zip(cells, words, strict=True)]
        least = [
            size if fixed else min(size, max(word, NARROWEST))
            for size, word, fixed in zip(widths, words, numeric, strict=True)
        ]
        while sum(widths) > room:
            widest = max(range(len(widths)), key=lambda index: (widths[index] > least[index], widths[index]))
            if widths[widest] <= least[widest]:
                return None
            widths[widest] -= 1
    return widths


def _records(columns: Sequence[str], rows: Sequence[Sequence[str]], *, available: int) -> list[str]:
    """Format each row as lines of name and value."""
    names = max((cell_len(name) for name in columns), default=0)
    lines: list[str] = []
    for row in rows:
        grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        grid.add_column(width=names, style=_bold())
        grid.add_column(width=max(available - names - GAP, NARROWEST), overflow="fold")
        for name, text in zip(columns, row, strict=True):
            grid.add_row(_plain(name), _plain(text))
        lines += [*([""] if lines else []), *_render(grid, available + GAP)]
    return lines


def _render(grid: Table, columns: int) -> list[str]:
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=columns,
        force_terminal=styled(),
        no_color=not styled(),
        highlight=False,
        legacy_windows=False,
    )
    console.print(grid)
    return [line.rstrip() for line in buffer.getvalue().splitlines()]


def _folded(text: str, available: int) -> list[str]:
    console = Console(file=io.StringIO(), width=available, no_color=True)
    return [line.plain.rstrip() for line in _plain_lines(text).wrap(console, available)]


def _bold() -> str:
    return "bold" if styled() else ""


def _plain(text: str) -> Text:
    """Escape text from clients: no markup and no control characters reach the terminal."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def _plain_lines(text: str) -> Text:
    return Text("\n").join(_plain(line) for line in text.split("\n"))
