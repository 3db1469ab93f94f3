"""Sums of this period and the one before go in; headline figures with a trend and a change come out."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from services.dashboard.charts import formats
from services.dashboard.charts import series as charts_series
from services.dashboard.charts.series import ChartContext
from services.dashboard.currency import Currency
from services.dashboard.queries import panels
from services.dashboard.queries.runner import QueryResult

Value = Callable[[dict[str, Any]], Any]


_UNKNOWN: dict[str, Any] = {"latency": [math.nan] * 3, "first_byte": [math.nan] * 3}
NOTHING: Mapping[str, Any] = {  # the sums of no requests
    **dict.fromkeys(("requests", "errors", "hits", "unpriced", "estimated", "requesters"), 0),
    **dict.fromkeys(("input_tokens", "output_tokens", "cost", "estimated_cost", "saved"), None),
    **dict.fromkeys(("latency_mean", "first_byte_mean"), None),
    **_UNKNOWN,
}


class Measure(NamedTuple):
    """What a tile is about."""

    id: str
    name: str
    value: Value  # of a row of sums
    kind: str = "count"  # as of formats.written, or a price: money in small
    good: str = "none"  # the direction that is welcome: up, down, none
    part: Value | None = None  # drawn in red inside its line
    colour: str = "var(--accent)"
    note: Callable[[dict[str, Any]], str] = lambda row: ""  # below the figure
    of: tuple[str, ...] = ()  # figures that panels.sums must tell for it, beside requests


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


REQUESTS = Measure(
    "requests",
    "Requests",
    lambda row: row["requests"],
    part=lambda row: row["errors"],
    note=lambda row: f"{formats.whole(row['errors'])} failed",
    of=("errors",),
)
COST = Measure("cost", "Cost", lambda row: row["cost"], "money", "down", of=panels.COST)
REQUESTERS = Measure("requesters", "Requesters", lambda row: row["requesters"])
MEAN = Measure(
    "mean",
    "Mean latency",
    lambda row: row["latency_mean"],
    "duration",
    "down",
    note=lambda row: f"p95 {formats.duration(row['latency'][1])}",
    of=("latency_mean",),
)
ERRORS = Measure(
    "error-rate",
    "Error rate",
    lambda row: charts_series.ratio(row["errors"], row["requests"]),
    "percent",
    "down",
    colour="var(--bad)",
    of=("errors",),
)
TOKENS = Measure(
    "tokens-sum",
    "Tokens",
    tokens,
    note=lambda row: f"{formats.count(row['input_tokens'] or 0)} in · {formats.count(row['output_tokens'] or 0)} out",
    of=("input_tokens", "output_tokens"),
)
HITS = Measure(
    "hits",
    "Cache hit rate",
    lambda row: charts_series.ratio(row["hits"], row["requests"]),
    "percent",
    "up",
    note=lambda row: f"{formats.whole(row['hits'])} of {formats.whole(row['requests'])} requests",
    of=("hits",),
)
SAVED = Measure(
    "saved", "Saved by the cache", lambda row: row["saved"], "money", "up", colour="var(--ok)", of=("saved",)
)
EACH = Measure(
    "each",
    "Cost per priced request",
    lambda row: row["cost"] / (row["requests"] - row["unpriced"]) if row["cost"] is not None else None,
    "price",
    "down",
    of=("cost", "unpriced"),
)
ESTIMATED = Measure(
    "estimated",
    "Of it estimated",
    lambda row: row["estimated_cost"] or 0,
    "money",
    note=lambda row: f"{formats.whole(row['estimated'])} requests with estimated cost",
    of=("estimated", "estimated_cost"),
)
FAILED = Measure("errors", "Errors", lambda row: row["errors"], "count", "down", colour="var(--bad)", of=("errors",))
FIRST_BYTE = Measure(
    "first-byte-mean",
    "Mean first byte",
    lambda row: row["first_byte_mean"],
    "duration",
    "down",
    of=("first_byte_mean",),
)


def percentile(index: int, name: str, *, first_byte: bool = False) -> Measure:
    """A tile of one of p50, p95, p99 (0, 1, 2)."""
    column = "first_byte" if first_byte else "latency"
    return Measure(f"{column.replace('_', '-')}-{index}", name, lambda row: row[column][index], "duration", "down")


def needed(measures: Iterable[Measure]) -> set[str]:
    """The figures that panels.sums must tell for these."""
    return {name for measure in measures for name in measure.of}


def tile(look: ChartContext, asked: Mapping[str, QueryResult], measure: Measure, *, of: str = "") -> Tile:
    """A measure of the answers `totals` and `series`, each with `of` before its name."""
    totals, series = asked[f"{of}totals"], asked[f"{of}series"]
    failure = totals.failure or series.failure
    if failure:
        return Tile(measure.id, measure.name, "–", None, Markup(), failure=failure)
    row = total(totals)
    values = charts_series.line(series.part("period"), look.view.period, measure.value)
    past, earlier = series.part("before"), look.view.earlier(look.view.period)
    picture = charts_series.spark(
        values,
        charts_series.line(past, earlier, measure.value)[: len(values)] if earlier and past.rows else (),
        label=f"{measure.name} over time; dashed: the period before",
        colour=measure.colour,
        part=charts_series.line(series.part("period"), look.view.period, measure.part) if measure.part else (),
    )
    passed, before = (measure.value(total(totals, one)) for one in ("passed", "before"))
    change = delta(passed, before, measure)
    return Tile(measure.id, measure.name, written(measure, row, look.money), change, picture, measure.note(row))


def joined(asked: QueryResult, percentiles: QueryResult, *on: str, needed: bool = False) -> QueryResult:
    """Sums with the percentiles that stand in the rows of the same key beside them; not known where there are none.

    `needed`: without them there is no answer.
    """
    found = {tuple(row[name] for name in on): row for row in percentiles.rows}
    rows = [found.get(tuple(row[name] for name in on), _UNKNOWN) | row for row in asked.rows]
    return QueryResult(rows, asked.failure or (percentiles.failure if needed else ""))


def total(asked: QueryResult, part: str = "period") -> dict[str, Any]:
    """The sums of a part; zeros where it has no requests, {} where the books do not answer."""
    return {} if asked.failure else asked.part(part).row or dict(NOTHING)


def written(measure: Measure, row: dict[str, Any], money: Currency) -> str:
    """The figure as text; what is unknown is said to be."""
    value = measure.value(row)
    if measure.kind == "price":
        return "–" if value is None else money.text5(value)
    if measure.kind == "money":
        return money.text(value if value is not None or row["requests"] else 0)
    return "–" if value is None or math.isnan(value) else formats.written(measure.kind, value)


def delta(now: Any, before: Any, measure: Measure) -> Delta | None:
    """None where there is nothing to compare with."""
    change = formats.change(now, before)
    if change is None:
        return None
    direction = "same" if abs(change) < 0.05 else "up" if change > 0 else "down"
    tone = "flat" if direction == "same" or measure.good == "none" else "good" if direction == measure.good else "bad"
    return Delta(f"{abs(change):.1f}%" if abs(change) < 1000 else ">999%", direction, tone)


def cost_change(row: dict[str, Any]) -> Delta | None:
    """A requester's: what passed of the period against as much of the one before."""
    return delta(row["cost_now"], row["cost_before"], COST)
