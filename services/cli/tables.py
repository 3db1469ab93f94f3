"""Rows of plain values come in, text for people, spreadsheets or programs goes out."""

import io
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared import spreadsheet

UNKNOWN = "unknown"

Row = Sequence[Any]


def exact(value: Decimal) -> str:
    """All digits of an amount and no exponent, without the zeros that a fixed scale appends."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def cell(value: Any) -> str:
    """A value as a person reads it; None is what cannot be known."""
    if value is None:
        return UNKNOWN
    if isinstance(value, Decimal):
        return exact(value)
    if isinstance(value, float):
        return str(round(value))
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return str(value)


def as_table(columns: Sequence[str], rows: Sequence[Row], *, total: Row | None = None, title: str = "") -> str:
    """A table, numbers to the right, as wide as the terminal or as it needs to be when nobody's terminal it is."""
    table = Table(show_footer=total is not None, title=Text(title) if title else None, title_justify="left")
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float | Decimal) for row in (*rows, *([total] if total else [])))
        footer = _plain(cell(total[index])) if total else Text("")
        table.add_column(
            column,
            footer=footer,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=not sys.stdout.isatty(),
        )
    for row in rows:
        table.add_row(*(_plain(cell(value)) for value in row))
    buffer = io.StringIO()
    terminal = Console()
    Console(
        file=buffer,
        width=terminal.width if sys.stdout.isatty() else 4000,
        force_terminal=sys.stdout.isatty(),
        no_color=terminal.no_color,
        highlight=False,
    ).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """CSV with a header line, safe for spreadsheets; amounts are exact."""
    lines = ([spreadsheet.text(value) if isinstance(value, str) else cell(value) for value in row] for row in rows)
    return spreadsheet.BOM + "".join(spreadsheet.line(line, end="\n") for line in (columns, *lines))


def as_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Indented JSON; amounts are strings, so that no reader turns them into floats, and what is unknown is null."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_encode) + "\n"


def _encode(value: Any) -> str:
    return exact(value) if isinstance(value, Decimal) else value.isoformat()


def _plain(text: str) -> Text:
    """Names come from clients: no markup of theirs is obeyed and no control character reaches the terminal."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))
