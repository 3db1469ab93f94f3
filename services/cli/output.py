"""Output formats: tables for people, exact CSV and JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from shared import decimals

UNKNOWN = "unknown"
NOT_SET = "(not set)"  # an empty requester, model or similar
NOT_APPLICABLE = "–"

Row = Sequence[Any]


def dollars(value: Decimal) -> str:
    """Format an amount for people: $1,234.56; two significant digits below a cent."""
    sign = "-" if value < 0 else ""
    amount = abs(value)
    if amount == 0:
        return "$0"
    if amount >= Decimal("0.01"):
        return f"{sign}${amount:,.2f}"
    return f"{sign}${decimals.exact(round(amount, 1 - amount.adjusted()))}"


def cell(value: Any) -> str:
    """Format a value exactly, for CSV; None is "unknown"."""
    if value is None:
        return UNKNOWN
    if isinstance(value, Decimal):
        return decimals.exact(value)
    if isinstance(value, float):
        return str(round(value))
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return str(value)


def shown(value: Any) -> str:
    """Format a value for people: dollars, thousands separators, times to the minute.

    Times without an offset are UTC.
    """
    if isinstance(value, Decimal):
        return dollars(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}" + (f"{value:%z}" if value.utcoffset() else "")
    return cell(value)


def share(part: Decimal | None, whole: Decimal | None) -> str:
    """Format a share in percent."""
    if part is None or not whole:
        return NOT_APPLICABLE
    percent = 100 * part / whole
    return "<0.1%" if 0 < percent < Decimal("0.1") else f"{percent:.1f}%"


def as_table(columns: Sequence[str], rows: Sequence[Row], *, total: Row | None = None, title: str = "") -> str:
    """Format rows as a table that fits the terminal; columns as in JSON or CSV."""
    from services.cli import layout  # imports rich

    every = [*rows, *([total] if total else [])]
    numeric = [
        any(isinstance(row[index], int | float | Decimal) and not isinstance(row[index], bool) for row in every)
        for index in range(len(columns))
    ]
    texts = [[_percent(column, value) for column, value in zip(columns, row, strict=True)] for row in every]
    return layout.table([_heading(name) for name in columns], texts, numeric=numeric, total=bool(total), title=title)


def as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Format CSV with a header line, safe for spreadsheets; amounts are exact."""
    from shared import spreadsheet

    lines = ([spreadsheet.text(value) if isinstance(value, str) else cell(value) for value in row] for row in rows)
    return spreadsheet.BOM + "".join(spreadsheet.line(line, end="\n") for line in (columns, *lines))


def as_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """Format indented JSON; amounts are strings, since readers would make them floats."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_encode) + "\n"


def plural(count: int, noun: str, many: str = "") -> str:
    """Format a count with its noun: 1 token, 2 tokens."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def _heading(name: str) -> str:
    """Return the heading of a column: `cost` for `cost_usd`, whose cells have a dollar sign."""
    words = name.replace("_", " ")
    for unit in (" usd", " USD"):
        words = words.removesuffix(unit)
    return words


def _percent(column: str, value: Any) -> str:
    if column.endswith("_percent") and isinstance(value, int | float):
        return f"{value:,.1f}"
    return shown(value)


def _encode(value: Any) -> str:
    return decimals.exact(value) if isinstance(value, Decimal) else value.isoformat()
