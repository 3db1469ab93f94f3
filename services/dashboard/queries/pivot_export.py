"""CSV file of a pivot: the same rows and columns, in US dollars, with all digits."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from services.dashboard.queries.pivot import OTHER, Dimension, Pivot, Table
from shared import spreadsheet

_OTHER = "Other"
_TOTAL = "Total"
_UNKNOWN_COST = "requests with unknown cost"


def as_csv(table: Table, chosen: Pivot, zone: ZoneInfo) -> str:
    """Return the file: a line for each row and one for the total."""
    unit = " (USD)" if chosen.measure.unit in ("money", "price") else ""
    of_time = f" ({zone.key})" if chosen.rows.is_time else ""
    has_unknown = "unpriced" in table.total and chosen.measure.name != "unpriced"
    columns = chosen.columns
    heads = [f"{chosen.rows.label}{of_time}"]
    if columns:
        heads += [_name(columns, name, zone) for name in table.columns]
    heads.append(f"{_TOTAL}: {chosen.measure.label}{unit}")
    if has_unknown:
        heads.append(_UNKNOWN_COST)
    lines = [spreadsheet.line(spreadsheet.text(one) for one in heads)]
    names = [_name(chosen.rows, name, zone) for name in table.rows]
    for at, name in [*enumerate(names, 1), (0, _TOTAL)]:
        places = [*range(1, len(table.columns) + 1), 0]
        figures = [_figure(table.cells.get((at, place)), chosen.measure.name) for place in places]
        if has_unknown:
            figures.append(str(table.cells.get((at, 0), {}).get("unpriced", 0)))
        lines.append(spreadsheet.line([spreadsheet.text(name), *figures]))
    return spreadsheet.BOM + "".join(lines)


def _name(dimension: Dimension, name: str | None, zone: ZoneInfo) -> str:
    if name is OTHER:
        return _OTHER
    if dimension.is_time:
        local = datetime.fromtimestamp(int(name), UTC).astimezone(zone)
        return f"{local:%Y-%m-%d}" if dimension.name == "day" else local.isoformat(timespec="minutes")
    return name


def _figure(cell: Mapping[str, Any] | None, measure: str) -> str:
    value = cell[measure] if cell else None
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
