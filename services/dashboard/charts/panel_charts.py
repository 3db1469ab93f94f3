"""Charts of the analytics pages, as HTML."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from services.dashboard.charts import colours, formats, svg
from services.dashboard.charts.figure import Line, Mark, Series
from services.dashboard.charts.series import ChartContext, known_per_bucket, plot, stack
from services.dashboard.labels import NOT_SET
from services.dashboard.page_params import View
from services.dashboard.queries.runner import QueryResult

_STATUS_COLOURS = {"0": "var(--sx)", "429": "var(--s4)", "500": "var(--bad)", "502": "var(--s7)", "504": "var(--s5)"}
_OTHER_STATUS_COLOURS = tuple(f"var(--s{number})" for number in (4, 1, 7, 5, 6, 3, 0, 2))


def cost_by(
    chart_context: ChartContext,
    result: QueryResult,
    title: str,
    *,
    total: dict[str, Any],
    name: str = "cost",
    marks: Sequence[Mark] = (),
    line: Line | None = None,
) -> Markup:
    """Draw cost over time by model, provider, …, stacked, with a budget as a line."""
    known = total.get("cost")
    frame = plot(
        chart_context.view,
        name,
        title,
        result=result,
        unit="money",
        sign=chart_context.money.sign,
        subtitle=chart_context.money.code,
        total="" if known is None else chart_context.money.text(known),
        marks=marks,
        line=line,
    )
    return markup(svg.stacked(frame, stack(chart_context, result, money=True)))


def by_status(chart_context: ChartContext, result: QueryResult) -> Markup:
    """Draw errors over time by status."""
    frame = plot(chart_context.view, "errors-over-time", "Errors by status", result=result)
    series = []
    for index, status in enumerate(stack(chart_context, result)):
        colour = status.colour
        if status.name != colours.OTHER:
            fallback = _OTHER_STATUS_COLOURS[index % len(_OTHER_STATUS_COLOURS)]
            colour = _STATUS_COLOURS.get(status.name, fallback)
        name = "interrupted" if status.name == "0" else status.name
        series.append(Series(name, colour, status.values))
    return markup(svg.stacked(frame, series))


def tokens(chart_context: ChartContext, result: QueryResult, *, total: dict[str, Any]) -> Markup:
    """Draw input and output tokens over time."""
    count = formats.count((total["input_tokens"] or 0) + (total["output_tokens"] or 0)) if total else ""
    frame = plot(chart_context.view, "tokens", "Tokens", result=result, subtitle="input and output", total=count)
    series = [
        Series("Input", "var(--s0)", known_per_bucket(chart_context, result, lambda row: row["input_tokens"])),
        Series("Output", "var(--s1)", known_per_bucket(chart_context, result, lambda row: row["output_tokens"])),
    ]
    return markup(svg.stacked(frame, series))


def latency(chart_context: ChartContext, result: QueryResult, *, first_byte: bool = False) -> Markup:
    """Draw percentiles of latency, or of the time to first byte, over time."""
    column, title = ("first_byte", "Time to first byte") if first_byte else ("latency", "Latency")
    frame = plot(
        chart_context.view,
        column.replace("_", "-"),
        title,
        result=result,
        unit="duration",
        subtitle="successful, uncached responses",
    )
    series = [
        Series("p99", "var(--s3)", known_per_bucket(chart_context, result, lambda row: row[column][2])),
        Series("p95", "var(--s0)", known_per_bucket(chart_context, result, lambda row: row[column][1])),
        Series("p50", "var(--s1)", known_per_bucket(chart_context, result, lambda row: row[column][0])),
    ]
    return markup(svg.lines(frame, series))


def p95_by(chart_context: ChartContext, result: QueryResult, title: str) -> Markup:
    """Draw p95 of latency over time, a line for each name that has one."""
    frame = plot(
        chart_context.view,
        "p95-by",
        title,
        result=result,
        unit="duration",
        subtitle="successful, uncached responses",
    )
    values = {
        name: known_per_bucket(
            chart_context,
            QueryResult([row for row in result.rows if row["key"] == name]),
            lambda row: row["latency_p95"],
        )
        for name in dict.fromkeys(row["key"] for row in result.rows)
    }
    names = [name for name, found in values.items() if any(value is not None for value in found)]
    shades = colours.shades(names, chart_context.palette)
    series = [Series(name or NOT_SET, shades[name], values[name]) for name in names]
    return markup(svg.lines(frame, series))


def requests(chart_context: ChartContext, result: QueryResult) -> Markup:
    """Draw requests over time: OK, cached, failed."""
    frame = plot(chart_context.view, "requests-over-time", "Requests", result=result)

    def ok(row: dict[str, Any]) -> Any:
        return row["requests"] - row["errors"] - row["hits"]

    series = [
        Series("OK", "var(--okbar)", known_per_bucket(chart_context, result, ok)),
        Series("Cached", "var(--cache)", known_per_bucket(chart_context, result, lambda row: row["hits"])),
        Series("Failed", "var(--bad)", known_per_bucket(chart_context, result, lambda row: row["errors"])),
    ]
    return markup(svg.stacked(frame, series))


def markup(html: str) -> Markup:
    """Mark a chart as safe HTML: svg and figure escape every name."""
    return Markup(html)  # noqa: S704 — see above


def spark(values: Sequence[float], before: Sequence[float] = (), **more: Any) -> Markup:
    """Draw a sparkline."""
    return markup(svg.spark(values, before, **more))


def trend(view: View, row: dict[str, Any]) -> Markup:
    """Draw a requester's cost over time, from the `trend` of their row."""
    values = [float(row["trend"].get(index, 0)) for index in range(len(view.period.buckets()))]
    if view.period.live and len(values) > 1:
        values.pop()
    return spark(values, label="cost over time")
