"""Sums of this period and the one before go in; headline figures with a trend and a change come out."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from services.dashboard import figures, formats
from services.dashboard.books import Asked
from services.dashboard.currency import Currency
from services.dashboard.view import View

Value = Callable[[dict[str, Any]], Any]


class Measure(NamedTuple):
    """What a tile is about."""

    id: str
    name: str
    value: Value  # of a row of sums
    kind: str = "count"  # as of formats.written
    good: str = "none"  # the direction that is welcome: up, down, none
    part: Value | None = None  # drawn in red inside its line
    colour: str = "var(--accent)"
    note: Callable[[dict[str, Any]], str] = lambda row: ""  # below the figure


class Delta(NamedTuple):
    """A change against the period before: "12.3%", "up" or "down", and whether that is good, bad or flat."""

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
)
COST = Measure("cost", "Cost", lambda row: row["cost"], "money", "down")
REQUESTERS = Measure("requesters", "Requesters", lambda row: row["requesters"])
MEAN = Measure(
    "mean",
    "Mean latency",
    lambda row: row["latency_mean"],
    "duration",
    "down",
    note=lambda row: f"p95 {formats.duration(row['latency'][1])}",
)
ERRORS = Measure(
    "error-rate",
    "Error rate",
    lambda row: figures.ratio(row["errors"], row["requests"]),
    "percent",
    "down",
    colour="var(--bad)",
)
TOKENS = Measure(
    "tokens-sum",
    "Tokens",
    tokens,
    note=lambda row: f"{formats.count(row['input_tokens'] or 0)} in · {formats.count(row['output_tokens'] or 0)} out",
)
HITS = Measure(
    "hits",
    "Cache hit rate",
    lambda row: figures.ratio(row["hits"], row["requests"]),
    "percent",
    "up",
    note=lambda row: f"{formats.whole(row['hits'])} of {formats.whole(row['requests'])} requests",
)
SAVED = Measure("saved", "Saved by the cache", lambda row: row["saved"], "money", "up", colour="var(--ok)")


def percentile(index: int, name: str, *, first_byte: bool = False) -> Measure:
    """A tile of one of p50, p95, p99 (0, 1, 2)."""
    column = "first_byte" if first_byte else "latency"
    return Measure(f"{column.replace('_', '-')}-{index}", name, lambda row: row[column][index], "duration", "down")


def tile(shown: View, asked: Mapping[str, Asked], measure: Measure, money: Currency, *, of: str = "") -> Tile:
    """A measure of the answers totals, now, before, series and series_before, each with `of` before its name."""
    totals, series = asked[f"{of}totals"], asked[f"{of}series"]
    failure = totals.failure or series.failure
    if failure:
        return Tile(measure.id, measure.name, "–", None, Markup(), failure=failure)
    now, before = (_value(asked.get(f"{of}{name}"), measure) for name in ("now", "before"))
    values = figures.line(series, shown.period, measure.value)
    earlier = shown.earlier(shown.period)
    past = asked.get(f"{of}series_before")
    picture = figures.spark(
        values,
        figures.line(past, earlier, measure.value)[: len(values)] if past and earlier and past.rows else (),
        label=f"{measure.name} over time; dashed: the period before",
        colour=measure.colour,
        part=figures.line(series, shown.period, measure.part) if measure.part else (),
    )
    value, note = written(measure, totals.row, money), measure.note(totals.row)
    return Tile(measure.id, measure.name, value, delta(now, before, measure), picture, note)


def _value(asked: Asked | None, measure: Measure) -> Any:
    return measure.value(asked.row) if asked and asked.row else None


def written(measure: Measure, row: dict[str, Any], money: Currency) -> str:
    """The figure as text; what is unknown is said to be."""
    value = measure.value(row)
    if measure.kind == "money":
        return money.text(value if value is not None or row["requests"] else 0)
    if value is None:
        return "–"
    return formats.written(measure.kind, value)


def delta(now: Any, before: Any, measure: Measure) -> Delta | None:
    """None where there is nothing to compare with."""
    change = formats.change(now, before)
    if change is None:
        return None
    direction = "up" if change > 0 else "down"
    flat = abs(change) < 0.05 or measure.good == "none"
    tone = "flat" if flat else "good" if direction == measure.good else "bad"
    return Delta(f"{abs(change):.1f}%" if abs(change) < 1000 else ">999%", direction, tone)
