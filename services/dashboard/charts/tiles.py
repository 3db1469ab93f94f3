"""Headline figures with their trend and change against the period before."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from services.dashboard.charts import formats
from services.dashboard.charts import series as charts_series
from services.dashboard.charts.series import ChartContext
from services.dashboard.currency import Currency
from services.dashboard.queries import panels
from services.dashboard.queries.panels import Compared
from services.dashboard.queries.runner import QueryResult

Value = Callable[[dict[str, Any]], Any]


_UNKNOWN: dict[str, Any] = {"latency": [math.nan] * 3, "first_byte": [math.nan] * 3}
NOTHING: Mapping[str, Any] = {  # the sums of no requests
    **dict.fromkeys(("requests", "errors", "hits", "unpriced", "estimated", "requesters"), 0),
    **dict.fromkeys(("input_tokens", "output_tokens", "cost", "estimated_cost", "saved"), None),
    **dict.fromkeys(("latency_mean", "first_byte_mean"), None),
    **_UNKNOWN,
}


class Headline(NamedTuple):
    """A figure that a tile shows, and how."""

    id: str
    name: str
    value: Value  # of a row of sums
    kind: str = "count"  # as of formats.written, or a price: money in small
    good: str = "none"  # the direction that is welcome: up, down, none
    part: Value | None = None  # drawn in red inside its line
    colour: str = "var(--accent)"
    note: Callable[[dict[str, Any]], str] = lambda row: ""  # below the figure
    needs: tuple[str, ...] = ()  # measures that its query must have, beside requests


class Delta(NamedTuple):
    """A change against the period before: "12.3%", "up", "down" or "same", and whether that is good, bad or flat."""

    text: str
    direction: str
    tone: str


class Tile(NamedTuple):
    """A headline figure. `failure` says why there is none."""

    id: str
    name: str
    value: str
    delta: Delta | None
    picture: Markup
    note: str = ""
    failure: str = ""


def tokens(row: dict[str, Any]) -> int:
    """All of them, as far as they are known."""
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
    note=lambda row: f"p95 {formats.duration(row['latency'][1])}",
    needs=("latency_mean",),
)
ERRORS = Headline(
    "error-rate",
    "Error rate",
    lambda row: charts_series.ratio(row["errors"], row["requests"]),
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
    lambda row: charts_series.ratio(row["hits"], row["requests"]),
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
    """A tile of one of p50, p95, p99 (0, 1, 2)."""
    column = "first_byte" if first_byte else "latency"
    return Headline(f"{column.replace('_', '-')}-{index}", name, lambda row: row[column][index], "duration", "down")


def needed(headlines: Iterable[Headline]) -> set[str]:
    """The measures that the query of these must have."""
    return {name for headline in headlines for name in headline.needs}


def tile(look: ChartContext, sums: Compared, headline: Headline) -> Tile:
    """A headline figure with its trend, and its change against the period before."""
    if sums.failure:
        return Tile(headline.id, headline.name, "–", None, Markup(), failure=sums.failure)
    row = total(sums)
    series, past = sums.buckets(), sums.buckets("before")
    values = charts_series.line(series, look.view.period, headline.value)
    earlier = look.view.earlier(look.view.period)
    picture = charts_series.spark(
        values,
        charts_series.line(past, earlier, headline.value)[: len(values)] if earlier and past.rows else (),
        label=f"{headline.name} over time; dashed: previous period",
        colour=headline.colour,
        part=charts_series.line(series, look.view.period, headline.part) if headline.part else (),
    )
    passed, before = (headline.value(total(sums, part)) for part in ("passed", "before"))
    change = delta(passed, before, headline)
    return Tile(headline.id, headline.name, written(headline, row, look.money), change, picture, headline.note(row))


def with_percentiles(sums: Compared, percentiles: Compared) -> Compared:
    """Sums whose totals have the percentiles beside them; not known where there are none."""
    totals = {part: {**_UNKNOWN, **(percentiles.total(part) or {}), **row} for part, row in sums.totals.items()}
    return Compared(totals, sums.series, sums.failure)


def joined(table: QueryResult, percentiles: QueryResult) -> QueryResult:
    """The rows of a table with the percentiles of the same names beside them; none where there are no percentiles."""
    found = {(row["name"], row["beside"]): row for row in percentiles.rows}
    rows = [_UNKNOWN | found.get((row["name"], row["beside"]), {}) | row for row in table.rows]
    return QueryResult(rows, table.failure or percentiles.failure)


def total(sums: Compared, part: str = "period") -> dict[str, Any]:
    """The sums of a part; zeros where it has no requests, {} where they are not known."""
    return {} if sums.failure else dict(sums.total(part) or NOTHING)


def written(headline: Headline, row: dict[str, Any], money: Currency) -> str:
    """The figure as text; what is unknown is said to be."""
    value = headline.value(row)
    if headline.kind == "price":
        return "–" if value is None else money.text5(value)
    if headline.kind == "money":
        return money.text(value if value is not None or row["requests"] else 0)
    return "–" if value is None or math.isnan(value) else formats.written(headline.kind, value)


def delta(now: Any, before: Any, headline: Headline) -> Delta | None:
    """None where there is nothing to compare with."""
    change = formats.change(now, before)
    if change is None:
        return None
    direction = "same" if abs(change) < 0.05 else "up" if change > 0 else "down"
    tone = "flat" if direction == "same" or headline.good == "none" else "good" if direction == headline.good else "bad"
    return Delta(f"{abs(change):.1f}%" if abs(change) < 1000 else ">999%", direction, tone)


def cost_change(row: dict[str, Any]) -> Delta | None:
    """A requester's: what passed of the period against as much of the one before."""
    return delta(row["cost_now"], row["cost_before"], COST)
