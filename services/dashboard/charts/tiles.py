"""Tiles: key figures with their trend and change from the previous period."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from services.dashboard.charts import formats, panel_charts, series
from services.dashboard.charts.series import ChartContext, Value
from services.dashboard.currency import Currency
from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryResult

_NEAR = 1.0  # percent: smaller changes have no colour
_UNKNOWN: dict[str, Any] = {"latency": [math.nan] * 3, "first_byte": [math.nan] * 3}
NOTHING: Mapping[str, Any] = {  # sums over no requests
    **dict.fromkeys(("requests", "errors", "hits", "unpriced", "estimated", "requesters"), 0),
    **dict.fromkeys(("input_tokens", "output_tokens", "cost", "estimated_cost", "saved"), None),
    **dict.fromkeys(("latency_mean", "first_byte_mean"), None),
    **_UNKNOWN,
}


class Headline(NamedTuple):
    """Definition of the figure of a tile."""

    id: str
    name: str
    value: Value  # from a row of sums
    unit: str = "count"  # of formats.number, or price: with five decimals
    good: str = "none"  # the good direction: up, down or none
    part: Value | None = None  # red in the sparkline
    colour: str = "var(--accent)"
    note: Callable[[dict[str, Any]], str] = lambda row: ""  # below the figure
    needs: tuple[str, ...] = ()  # measures of its query, beside requests


class Delta(NamedTuple):
    """A change: "12.3%"; up, down or same; good, bad or flat.

    `since`: "from $792.10". `why`: both figures with their times.
    """

    text: str
    direction: str
    tone: str
    since: str = ""
    why: str = ""


class Tile(NamedTuple):
    """A tile as shown. `failure`: why it has no figure."""

    id: str
    name: str
    value: str
    delta: Delta | None
    picture: Markup
    note: str = ""
    failure: str = ""


def tokens(row: dict[str, Any]) -> int:
    """Return input and output tokens, 0 for unknown."""
    return (row["input_tokens"] or 0) + (row["output_tokens"] or 0)


REQUESTS = Headline(
    "requests",
    "Requests",
    lambda row: row["requests"],
    part=lambda row: row["errors"],
    note=lambda row: f"{formats.whole(row['errors'])} failed",
    needs=("errors",),
)
COST = Headline("cost", "Cost", lambda row: row["cost"], "money", "down", needs=panels.COST)
REQUESTERS = Headline("requesters", "Requesters", lambda row: row["requesters"])
MEAN = Headline(
    "mean",
    "Mean latency",
    lambda row: row["latency_mean"],
    "duration",
    "down",
    note=lambda row: f"of successful, uncached responses · p95 {formats.duration(row['latency'][1])}",
    needs=("latency_mean",),
)
ERRORS = Headline(
    "error-rate",
    "Error rate",
    lambda row: formats.ratio(row["errors"], row["requests"]),
    "percent",
    "down",
    colour="var(--bad)",
    needs=("errors",),
)
TOKENS = Headline(
    "tokens-sum",
    "Tokens",
    tokens,
    note=lambda row: (
        f"{formats.count(row['input_tokens'] or 0)} input · {formats.count(row['output_tokens'] or 0)} output"
    ),
    needs=("input_tokens", "output_tokens"),
)
HITS = Headline(
    "hits",
    "Cache hit rate",
    lambda row: formats.ratio(row["hits"], row["requests"]),
    "percent",
    "up",
    note=lambda row: f"{formats.whole(row['hits'])} of {formats.whole(row['requests'])} requests",
    needs=("hits",),
)
SAVED = Headline(
    "saved", "Saved by cache", lambda row: row["saved"], "money", "up", colour="var(--ok)", needs=("saved",)
)
EACH = Headline(
    "each",
    "Average cost per request",
    lambda row: row["cost"] / (row["requests"] - row["unpriced"]) if row["cost"] is not None else None,
    "price",
    "down",
    note=lambda row: "requests with known cost",
    needs=("cost", "unpriced"),
)
ESTIMATED = Headline(
    "estimated",
    "Estimated cost",
    lambda row: row["estimated_cost"] or 0,
    "money",
    note=lambda row: f"{formats.whole(row['estimated'])} requests with estimated cost",
    needs=("estimated", "estimated_cost"),
)
FAILED = Headline(
    "errors", "Errors", lambda row: row["errors"], "count", "down", colour="var(--bad)", needs=("errors",)
)
FIRST_BYTE = Headline(
    "first-byte-mean",
    "Mean time to first byte",
    lambda row: row["first_byte_mean"],
    "duration",
    "down",
    needs=("first_byte_mean",),
)


def percentile(index: int, name: str, *, first_byte: bool = False) -> Headline:
    """Return the definition of a percentile's tile: p50, p95 or p99 (0, 1, 2)."""
    column = "first_byte" if first_byte else "latency"
    return Headline(f"{column.replace('_', '-')}-{index}", name, lambda row: row[column][index], "duration", "down")


def needed(headlines: Iterable[Headline]) -> set[str]:
    """Return the measures that the query of these tiles must have."""
    return {name for headline in headlines for name in headline.needs}


def tile(chart_context: ChartContext, sums: panels.Compared, headline: Headline) -> Tile:
    """Return a tile with its sparkline and its change from the previous period."""
    if sums.failure:
        return Tile(headline.id, headline.name, "–", None, Markup(), failure=sums.failure)
    row = total(sums)
    change = _change(chart_context, sums, headline)
    text = value_text(headline, row, chart_context.money)
    return Tile(headline.id, headline.name, text, change, _sparkline(chart_context, sums, headline), headline.note(row))


def equivalent(found: QueryResult, money: Currency) -> list[Tile]:
    """Return a tile of what subscriptions would have cost; none without any."""
    if found.failure:
        return [Tile("equivalent", "API equivalent", "–", None, Markup(), failure=found.failure)]
    row = found.row
    if not row.get("requests"):
        return []
    note = f"{formats.whole(row['requests'])} subscription requests, not included in other cost figures"
    if row["unpriced"]:
        note += f"; the price of {formats.whole(row['unpriced'])} is unknown"
    return [Tile("equivalent", "API equivalent", money.text(row["equivalent"]), None, Markup(), note)]


class Compared(NamedTuple):
    """The part of a period that has passed, and as much of the previous one."""

    passed: Period
    before: Period


def compared_periods(view: View) -> Compared | None:
    """Return what changes are computed from; None without a comparison."""
    passed = view.period.passed()
    before = view.earlier(passed)
    return Compared(passed, before) if before else None


def _change(chart_context: ChartContext, sums: panels.Compared, headline: Headline) -> Delta | None:
    """Return the change of a tile's figure, with the figures and times that it compares."""
    compared = compared_periods(chart_context.view)
    now, before = total(sums), total(sums, "before")
    change = delta(headline.value(now), headline.value(before), headline)
    if change is None or compared is None:
        return None
    money, zone = chart_context.money, chart_context.view.tz
    texts = [value_text(headline, row, money) for row in (now, before)]
    spans = [f"{formats.moment(part.since, zone)} – {formats.moment(part.until, zone)}" for part in compared]
    return change._replace(since=f"from {texts[1]}", why=f"{texts[0]} in {spans[0]}; {texts[1]} in {spans[1]}")


def _sparkline(chart_context: ChartContext, sums: panels.Compared, headline: Headline) -> Markup:
    period = chart_context.view.period
    buckets = sums.buckets()
    values = series.sparkline(buckets, period, headline.value)
    past = sums.buckets("before")
    earlier = chart_context.view.earlier(period)
    before: list[float] = []
    if earlier and past.rows:
        before = series.sparkline(past, earlier, headline.value)[: len(values)]
    return panel_charts.spark(
        values,
        before,
        label=f"{headline.name} over time; dashed: previous period",
        colour=headline.colour,
        part=series.sparkline(buckets, period, headline.part) if headline.part else (),
    )


def with_percentiles(sums: panels.Compared, percentiles: panels.Compared) -> panels.Compared:
    """Return sums with percentiles merged into the totals; NaN where there are none."""
    totals = {part: {**_UNKNOWN, **(percentiles.total(part) or {}), **row} for part, row in sums.totals.items()}
    return panels.Compared(totals, sums.series, sums.failure)


def join_percentiles(table: QueryResult, percentiles: QueryResult) -> QueryResult:
    """Return the rows of a table with the percentiles of the same names merged in."""
    by_name = {(row["name"], row["beside"]): row for row in percentiles.rows}
    rows = [_UNKNOWN | by_name.get((row["name"], row["beside"]), {}) | row for row in table.rows]
    return QueryResult(rows, table.failure or percentiles.failure)


def total(sums: panels.Compared, part: str = "period") -> dict[str, Any]:
    """Return the sums of a part; zeros without requests, {} if the query failed."""
    return {} if sums.failure else dict(sums.total(part) or NOTHING)


def value_text(headline: Headline, row: dict[str, Any], money: Currency) -> str:
    """Format the figure; "unknown" or a dash if it is unknown."""
    value = headline.value(row)
    if headline.unit == "price":
        return "–" if value is None else money.text5(value)
    if headline.unit == "money":
        return money.text(value if value is not None or row["requests"] else 0)
    return "–" if value is None or math.isnan(value) else formats.number(headline.unit, value)


def delta(now: Any, before: Any, headline: Headline) -> Delta | None:
    """Return the change from `before` to `now`; None without a value to compare with."""
    change = formats.change(now, before)
    if change is None:
        return None
    direction = "up" if change > 0 else "down"
    if abs(change) < 0.05:
        direction = "same"
    tone = "good" if direction == headline.good else "bad"
    if abs(change) < _NEAR or headline.good == "none":
        tone = "flat"
    return Delta(f"{abs(change):.1f}%" if abs(change) < 1000 else ">999%", direction, tone)


def cost_change(row: dict[str, Any]) -> Delta | None:
    """Return the change of a requester's cost from the previous period."""
    return delta(row["cost_now"], row["cost_before"], COST)
