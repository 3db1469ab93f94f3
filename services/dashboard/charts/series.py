"""Series, labels and frames of charts, from query results."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from services.dashboard.charts import colours
from services.dashboard.charts.figure import Label, Plot, Series
from services.dashboard.currency import Currency
from services.dashboard.labels import NOT_SET
from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries.runner import QueryResult
from shared.recent import HOUR

MAX_LABELS = 9
Value = Callable[[dict[str, Any]], Any]


class ChartContext(NamedTuple):
    """The view, currency and colours that the charts of a page share."""

    view: View
    money: Currency
    palette: Mapping[str, str]

    def colour(self, name: str) -> str:
        """Return the colour of a name; also of one that the palette lacks."""
        return self.palette.get(name) or colours.shades([name])[name]


def per_bucket(result: QueryResult, period: Period, value: Value, *, slot: str = "slot") -> list[float | None]:
    """Return a value for each bucket; None where the result has none."""
    values = {row[slot]: value(row) for row in result.rows}
    ordered = (values.get(index) for index in range(len(period.buckets())))
    return [None if number is None else float(number) for number in ordered]


def known_per_bucket(chart_context: ChartContext, result: QueryResult, value: Value) -> list[float | None]:
    """Return the same, with None for NaN: ClickHouse's percentile of no rows."""
    values = per_bucket(result, chart_context.view.period, value)
    return [None if number is None or math.isnan(number) else number for number in values]


def sparkline(result: QueryResult, period: Period, value: Value) -> list[float]:
    """Return values for a sparkline: 0 for unknown, without the current bucket."""
    values = [0.0 if number is None or math.isnan(number) else number for number in per_bucket(result, period, value)]
    return values[:-1] if period.live and len(values) > 1 else values


def plot(view: View, name: str, title: str, *, result: QueryResult | None = None, **more: Any) -> Plot:
    """Return the frame of a chart over the period, with its query's failure."""
    period = view.period
    starts = [at.timestamp() for at in period.buckets()]
    return Plot(
        id=name,
        title=title,
        times=starts,
        ends=[*starts[1:], period.until.timestamp()],
        labels=axis_labels(period),
        live=period.live,
        hidden=view.hidden_series,
        failure=result.failure if result else "",
        **more,
    )


def axis_labels(period: Period) -> list[Label]:
    """Return the labels of the time axis: days, or full hours."""
    buckets = [at.astimezone(period.tz) for at in period.buckets()]
    if period.daily:
        stride = -(-len(buckets) // MAX_LABELS)
        return [(index, f"{at.day} {at:%b}") for index, at in enumerate(buckets) if index % stride == 0]
    hours = len(buckets) * period.step / HOUR
    every = 12 if hours > 27 else 3 if hours > 8 else 1
    labels = []
    for index, at in enumerate(buckets):
        if hours <= 2 or (at.minute == 0 and at.hour % every == 0):
            is_midnight = (at.hour, at.minute) == (0, 0)
            labels.append((index, f"{at.day} {at:%b}" if is_midnight else f"{at:%H:%M}"))
    return labels


def stack(chart_context: ChartContext, result: QueryResult, *, money: bool = False) -> list[Series]:
    """Return the rows of dashboard_series_by as series: the largest first, Other last."""
    count = len(chart_context.view.period.buckets())
    by_key: dict[tuple[str, bool], list[float | None]] = {}
    for row in result.rows:
        amount = chart_context.money.amount(row["amounts"]) if money else row["amounts"]
        values = by_key.setdefault((row["key"], bool(row["rest"])), [0.0] * count)
        values[row["slot"]] = float(amount or 0)
    shades = colours.shades((key for key, rest in by_key if not rest), chart_context.palette)
    return [
        Series(colours.OTHER, "var(--sx)", values) if rest else Series(key or NOT_SET, shades[key], values)
        for (key, rest), values in by_key.items()
    ]
