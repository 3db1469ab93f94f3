"""Answers of the books go in; the tiles and charts of the analytics pages come out."""

import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from markupsafe import Markup

from services.dashboard.charts import colours, formats, svg
from services.dashboard.charts.figure import Label, Plot, Series
from services.dashboard.currency import Currency
from services.dashboard.page_params import View
from services.dashboard.periods import HOUR, Period
from services.dashboard.queries.runner import QueryResult

MOST_LABELS = 9
_ENDS = {
    "interrupted": "Gateway stopped",
    "upstream_closed": "Stream cut off by provider",
    "timeout": "Timeout",
    "upstream_error": "Connection lost",
}
UNNAMED = "(not set)"  # how a requester, model or token without a name is written
Value = Callable[[dict[str, Any]], Any]


class ChartContext(NamedTuple):
    """How answers are drawn: for which view, in which currency, in whose colours."""

    view: View
    money: Currency
    palette: Mapping[str, str]

    def colour(self, name: str) -> str:
        """A name's colour; one that the period's list lacks has its own all the same."""
        return self.palette.get(name) or colours.shades([name])[name]


def ratio(part: Any, whole: Any) -> float | None:
    """Per cent; None of nothing."""
    return None if not whole or part is None else float(part) / float(whole) * 100


def filled(asked: QueryResult, period: Period, value: Value, *, slot: str = "slot") -> list[float | None]:
    """A value for each bucket; None for those of which the answer says nothing."""
    known = {row[slot]: value(row) for row in asked.rows}
    found = (known.get(index) for index in range(len(period.buckets())))
    return [None if one is None else float(one) for one in found]


def line(asked: QueryResult, period: Period, value: Value) -> list[float]:
    """The same for a small line: 0 where nothing is known, and without the bucket that is still filling."""
    values = [0.0 if one is None or math.isnan(one) else one for one in filled(asked, period, value)]
    return values[:-1] if period.live and len(values) > 1 else values


def plot(shown: View, name: str, title: str, *, asked: QueryResult | None = None, **more: Any) -> Plot:
    """The frame of a chart over the period; where the answer failed it says so."""
    period = shown.period
    starts = [at.timestamp() for at in period.buckets()]
    return Plot(
        id=name,
        title=title,
        times=starts,
        ends=[*starts[1:], period.until.timestamp()],
        labels=labels(period),
        live=period.live,
        hidden=shown.hidden_series,
        failure=asked.failure if asked else "",
        **more,
    )


def labels(period: Period) -> list[Label]:
    """What stands below which bucket: round hours, or days; the day's name at midnight."""
    buckets = [at.astimezone(period.tz) for at in period.buckets()]
    if period.daily:
        stride = -(-len(buckets) // MOST_LABELS)
        return [(index, f"{at.day} {at:%b}") for index, at in enumerate(buckets) if index % stride == 0]
    hours = len(buckets) * period.step / HOUR
    every = 3 if hours > 8 else 1
    found = []
    for index, at in enumerate(buckets):
        if hours <= 2 or (at.minute == 0 and at.hour % every == 0):
            found.append((index, f"{at.day} {at:%b}" if (at.hour, at.minute) == (0, 0) else f"{at:%H:%M}"))
    return found


def stack(look: ChartContext, asked: QueryResult, *, money: bool = False) -> list[Series]:
    """The answer to dashboard_series_by as series, the largest first, Other last."""
    count = len(look.view.period.buckets())
    found: dict[tuple[str, bool], list[float | None]] = {}
    for row in asked.rows:
        amount = look.money.amount(row["amounts"]) if money else row["amounts"]
        found.setdefault((row["key"], bool(row["rest"])), [0.0] * count)[row["slot"]] = float(amount or 0)
    shades = colours.shades((key for key, rest in found if not rest), look.palette)
    return [
        Series(colours.OTHER, "var(--sx)", values) if rest else Series(key or UNNAMED, shades[key], values)
        for (key, rest), values in found.items()
    ]


def cost_by(look: ChartContext, asked: QueryResult, title: str, *, total: dict[str, Any], name: str = "cost") -> Markup:
    """Cost over time by model, provider …, stacked."""
    known = total.get("cost")
    frame = plot(
        look.view,
        name,
        title,
        asked=asked,
        kind="money",
        sign=look.money.sign,
        subtitle=look.money.code,
        total="" if known is None else look.money.text(known),
    )
    return drawn(svg.stacked(frame, stack(look, asked, money=True)))


def by_status(look: ChartContext, asked: QueryResult) -> Markup:
    """Errors over time by status."""
    shades = ("var(--s4)", "var(--s1)", "var(--s7)", "var(--s5)", "var(--s6)", "var(--s3)", "var(--s0)", "var(--s2)")
    known = {"0": "var(--sx)", "429": "var(--s4)", "500": "var(--bad)", "502": "var(--s7)", "504": "var(--s5)"}
    series = stack(look, asked)
    named = {
        one.name: known.get(one.name, one.colour if one.name == colours.OTHER else shades[index % len(shades)])
        for index, one in enumerate(series)
    }
    titles = {"0": "interrupted"}
    frame = plot(look.view, "errors-over-time", "Errors by status", asked=asked)
    return drawn(
        svg.stacked(frame, [Series(titles.get(one.name, one.name), named[one.name], one.values) for one in series])
    )


def tokens(look: ChartContext, asked: QueryResult, *, total: dict[str, Any]) -> Markup:
    """Tokens over time, input and output."""
    count = formats.count((total["input_tokens"] or 0) + (total["output_tokens"] or 0)) if total else ""
    frame = plot(look.view, "tokens", "Tokens", asked=asked, subtitle="input and output", total=count)
    series = [
        Series("Input", "var(--s0)", _column(look, asked, lambda row: row["input_tokens"])),
        Series("Output", "var(--s1)", _column(look, asked, lambda row: row["output_tokens"])),
    ]
    return drawn(svg.stacked(frame, series))


def latency(look: ChartContext, asked: QueryResult, *, first_byte: bool = False) -> Markup:
    """Percentiles over time, of the whole answer or of its first byte."""
    column, title = ("first_byte", "Time to first byte") if first_byte else ("latency", "Latency")
    frame = plot(
        look.view,
        column.replace("_", "-"),
        title,
        asked=asked,
        kind="duration",
        subtitle="successful, uncached responses",
    )
    series = [
        Series("p99", "var(--s3)", _column(look, asked, lambda row: row[column][2])),
        Series("p95", "var(--s0)", _column(look, asked, lambda row: row[column][1])),
        Series("p50", "var(--s1)", _column(look, asked, lambda row: row[column][0])),
    ]
    return drawn(svg.lines(frame, series))


def requests(look: ChartContext, asked: QueryResult) -> Markup:
    """Requests over time: answered, from the cache, failed."""
    frame = plot(look.view, "requests-over-time", "Requests", asked=asked)
    series = [
        Series("OK", "var(--okbar)", _column(look, asked, lambda row: row["requests"] - row["errors"] - row["hits"])),
        Series("Cached", "var(--cache)", _column(look, asked, lambda row: row["hits"])),
        Series("Failed", "var(--bad)", _column(look, asked, lambda row: row["errors"])),
    ]
    return drawn(svg.stacked(frame, series))


def drawn(html: str) -> Markup:
    """What charts made, for a template: every name in it is escaped there."""
    return Markup(html)  # noqa: S704 — see above


def spark(values: Sequence[float], before: Sequence[float] = (), **more: Any) -> Markup:
    """A small line."""
    return drawn(svg.spark(values, before, **more))


def trend(shown: View, row: dict[str, Any]) -> Markup:
    """A requester's cost over time, small: their `trend` by bucket."""
    values = [float(row["trend"].get(index, 0)) for index in range(len(shown.period.buckets()))]
    if shown.period.live and len(values) > 1:
        values.pop()
    return spark(values, label="cost over time")


def models_used(used: Mapping[str, int]) -> list[str]:
    """Models by how often they were used, the most used first."""
    return sorted((name for name in used if used[name]), key=lambda name: (-used[name], name))


def meaning(status: int, outcome: str) -> str:
    """A status and a way to end, in words."""
    if outcome in _ENDS and (status < 400 or outcome != "upstream_error"):
        return _ENDS[outcome]
    if status < 400:
        return "Error in response"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client closed" if status == 499 else "Overloaded" if status == 529 else f"Status {status}"


def _column(look: ChartContext, asked: QueryResult, value: Value) -> list[float | None]:
    """What is no number (ClickHouse's percentile of nothing) is not known."""
    values = filled(asked, look.view.period, value)
    return [None if one is None or math.isnan(one) else one for one in values]
