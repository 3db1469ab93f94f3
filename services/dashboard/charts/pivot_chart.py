"""Texts, colours and charts of a pivot."""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from markupsafe import Markup

from services.dashboard import labels
from services.dashboard.charts import colours, formats, panel_charts, svg
from services.dashboard.charts.figure import Series
from services.dashboard.charts.series import ChartContext, plot
from services.dashboard.filter_params import CACHES
from services.dashboard.queries import pivot
from services.dashboard.queries.pivot import OTHER, Dimension, Pivot, Table

_INTERRUPTED = "0"


class Texts:
    """Formats names and figures of a pivot."""

    def __init__(self, chart_context: ChartContext, chosen: Pivot) -> None:
        self._money = chart_context.money
        self._view = chart_context.view
        self.chosen = chosen

    def row(self, name: str | None, table: Table) -> str:
        """Return the label of a row."""
        return self._label(self.chosen.rows, name, table.groups_of_rows - self.chosen.top_rows)

    def column(self, name: str | None, table: Table) -> str:
        """Return the label of a column."""
        assert self.chosen.columns is not None
        return self._label(self.chosen.columns, name, table.groups_of_columns - self.chosen.top_columns)

    def figure(self, cell: Mapping[str, Any] | None) -> str:
        """Return the text of a cell; a dash without requests."""
        if not cell:
            return "–"
        measure = self.chosen.measure
        value = cell[measure.name]
        if measure.unit == "money":
            return self._money.text(value if value is not None or measure.name == "cost" else 0)
        if measure.unit == "price":
            return self._money.text5(value)
        if value is None:
            return "–"
        return formats.number(measure.unit, float(value))

    def exact(self, cell: Mapping[str, Any] | None) -> str:
        """Describe how many requests a cell has, and how many of unknown cost."""
        if not cell:
            return ""
        counted = cell[self.chosen.measure.counted]
        what = "requests" if self.chosen.measure.counted == "requests" else "responses"
        text = f"{formats.whole(counted)} {what}"
        if cell.get("unpriced"):
            text += f", {formats.whole(cell['unpriced'])} of unknown cost are not included"
        if cell.get("estimated"):
            text += f", {formats.whole(cell['estimated'])} estimated"
        return text

    def amount(self, cell: Mapping[str, Any] | None) -> float:
        """Return the figure of a cell as a number, in the viewer's currency; 0 for none."""
        value = cell[self.chosen.measure.name] if cell else None
        if value is not None and self.chosen.measure.unit in ("money", "price"):
            value = self._money.amount(value)
        return float(value or 0)

    def largest(self, table: Table) -> float:
        """Return the largest total of a row; 1 if all are 0."""
        return max((self.amount(table.cells.get((at, 0))) for at in range(1, len(table.rows) + 1)), default=0) or 1.0

    def _label(self, dimension: Dimension, name: str | None, others: int) -> str:
        if name is OTHER:
            return f"{colours.OTHER} ({formats.whole(others)})"
        return label(dimension, name, self._view.tz)


def label(dimension: Dimension, name: str, zone: Any) -> str:
    """Return the label of a dimension's value."""
    if dimension.is_time:
        at = datetime.fromtimestamp(int(name), UTC)
        return formats.day(at, zone) if dimension.name == "day" else formats.day_and_minute(at, zone)
    if dimension.name == "cache":
        return CACHES[name]
    if dimension.name == "status" and name == _INTERRUPTED:
        return "interrupted"
    if dimension.name == "outcome":
        return labels.OUTCOMES.get(name, name)
    return formats.name(name) if name else labels.NOT_SET


def colours_of(chart_context: ChartContext, table: Table, texts: Texts) -> list[str]:
    """Return the colour of each column; of the one series without columns."""
    if texts.chosen.columns is None:
        return ["var(--accent)"]
    shades = colours.shades((name for name in table.columns if name is not OTHER), chart_context.palette)
    return ["var(--sx)" if name is OTHER else shades[name] for name in table.columns]


def over_time(chart_context: ChartContext, table: Table, texts: Texts) -> Markup:
    """Draw the columns over the days or hours of the rows."""
    chosen = texts.chosen
    period = pivot.by_time(chosen.rows, chart_context.view.period)
    starts = [at.timestamp() for at in period.buckets()]
    unit = "money" if chosen.measure.unit == "price" else chosen.measure.unit
    frame = plot(
        msgspec.structs.replace(chart_context.view, period=period),
        "pivot-chart",
        f"{chosen.measure.label} by {chosen.rows.label.lower()}",
        unit=unit,
        sign=chart_context.money.sign,
    )
    names = [texts.column(name, table) for name in table.columns] if chosen.columns else [chosen.measure.label]
    empty = 0.0 if chosen.measure.adds_up else None
    series = [
        Series(name, colour, [empty] * len(starts))
        for name, colour in zip(names, colours_of(chart_context, table, texts), strict=True)
    ]
    for row_at, name in enumerate(table.rows, 1):
        slot = max(0, bisect_right(starts, int(name or 0)) - 1)
        for column_at, item in enumerate(series, 1 if chosen.columns else 0):
            if cell := table.cells.get((row_at, column_at)):
                item.values[slot] = texts.amount(cell)  # type: ignore[index]
    draw = svg.stacked if chosen.measure.adds_up else svg.lines
    return panel_charts.markup(draw(frame, series))
