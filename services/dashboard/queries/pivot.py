"""Query of a pivot: a measure by one or two dimensions.

The largest values of each stand by themselves, the others together. How it is shown is not decided here.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter, Period
from services.dashboard.queries import joint_source, measures, runner, source_sql
from services.dashboard.queries.joint_source import SummedDays
from services.dashboard.queries.runner import Query, QueryResult
from shared.recent import DAY, HOUR

METADATA = "meta:"  # before a key of metadata, as a dimension
MAX_KEY = 256  # characters of a key
MAX_TIMES = 110  # days or hours of a pivot
TIMES = {"day": DAY, "hour": HOUR}
_SECONDS = 20.0  # time limit: a pivot that no sums can answer reads the requests
_THREADS = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HALF = timedelta(minutes=30)  # time zones shift their clocks by at least half an hour


class Dimension(msgspec.Struct, frozen=True):
    """What requests are grouped by. `sql`: over the `columns` of the source `u`."""

    name: str
    label: str
    sql: str
    columns: tuple[str, ...]

    @property
    def is_time(self) -> bool:
        """Whether its values are starts of days or hours, in Unix seconds."""
        return self.name in TIMES

    @property
    def key(self) -> str:
        """The key of metadata; "" for other dimensions."""
        return self.name.removeprefix(METADATA) if self.name.startswith(METADATA) else ""


class PivotMeasure(msgspec.Struct, frozen=True):
    """A figure of a pivot. `weight`: columns whose sum orders rows and columns."""

    name: str
    label: str
    unit: str = "count"  # as in charts.formats.number, or price
    weight: tuple[str, ...] = ("requests",)
    counted: str = "requests"  # what a cell must have some of
    adds_up: bool = True  # the cells' values add up to their totals


class Pivot(msgspec.Struct, frozen=True):
    """What to compute: one of MEASURES, by one dimension or by two."""

    measure: PivotMeasure
    rows: Dimension
    columns: Dimension | None
    top_rows: int
    top_columns: int


def _plain(name: str, label: str, sql: str = "") -> Dimension:
    return Dimension(name, label, sql or f"u.{name}", (name,))


_START_OF = "toUnixTimestamp({function}(toTimeZone(u.bucket, {{tz:String}})))"
DIMENSIONS: Mapping[str, Dimension] = {
    one.name: one
    for one in (
        _plain("requester", "Requester"),
        _plain("model", "Model"),
        _plain("provider", "Provider"),
        _plain("account", "Account"),
        _plain("token", "API token"),
        _plain("endpoint", "Endpoint"),
        _plain("status", "Status"),
        _plain("outcome", "Outcome"),
        _plain("cache", "Cache", "if(u.hits > 0, 'yes', 'no')"),
        _plain("client", "Client"),
        _plain("agent", "Agent"),
        _plain("session", "Session"),
        Dimension("day", "Day", _START_OF.format(function="toStartOfDay"), ("bucket",)),
        Dimension("hour", "Hour", _START_OF.format(function="toStartOfHour"), ("bucket",)),
    )
}
MEASURES: Mapping[str, PivotMeasure] = {
    one.name: one
    for one in (
        PivotMeasure("cost", "Cost", "money", ("cost",)),
        PivotMeasure("requests", "Requests"),
        PivotMeasure("tokens", "Tokens", weight=("input_tokens", "output_tokens")),
        PivotMeasure("input_tokens", "Input tokens", weight=("input_tokens",)),
        PivotMeasure("output_tokens", "Output tokens", weight=("output_tokens",)),
        PivotMeasure("cache_read_tokens", "Tokens read from provider's cache", weight=("cache_read_tokens",)),
        PivotMeasure("cache_write_tokens", "Tokens written to provider's cache", weight=("cache_write_tokens",)),
        PivotMeasure("reasoning_tokens", "Reasoning tokens", weight=("reasoning_tokens",)),
        PivotMeasure("errors", "Errors", weight=("errors",)),
        PivotMeasure("error_rate", "Error rate", "percent", adds_up=False),
        PivotMeasure("cost_mean", "Average cost per request", "price", adds_up=False),
        PivotMeasure("unpriced", "Requests with unknown cost", weight=("unpriced",)),
        PivotMeasure("hits", "Cache hits", weight=("hits",)),
        PivotMeasure("hit_rate", "Cache hit rate", "percent", adds_up=False),
        PivotMeasure("saved", "Saved by cache", "money", ("cost_saved",)),
        PivotMeasure("latency_mean", "Mean latency", "duration", ("answered",), "answered", adds_up=False),
        *(
            PivotMeasure(f"latency_p{level}", f"Latency p{level}", "duration", ("answered",), "answered", adds_up=False)
            for level in (50, 95, 99)
        ),
        PivotMeasure("first_byte_p95", "TTFB p95", "duration", ("answered",), "answered", adds_up=False),
    )
}


def dimension(name: str, view: View) -> Dimension:
    """Return the dimension of a name; raises BadParameter."""
    if name.startswith(METADATA) and name != METADATA and len(name) <= len(METADATA) + MAX_KEY:
        key = name.removeprefix(METADATA)
        return Dimension(name, f"metadata: {key}", "", ("row_property",))
    found = DIMENSIONS.get(name)
    if found is None:
        raise BadParameter(f"Unknown dimension. Use {', '.join(DIMENSIONS)}, or meta:KEY for a key of metadata.")
    if found.is_time and len(starts(found, view)) > MAX_TIMES:
        raise BadParameter(f"{found.label}s need a shorter period: at most {MAX_TIMES} of them.")
    return found


def starts(time: Dimension, view: View) -> list[datetime]:
    """Return the starts of the days or hours of a period; the first may lie before it."""
    return by_time(time, view.period).buckets()


def by_time(time: Dimension, period: Period) -> Period:
    """Return the period in whole days or hours, from the start of its first one."""
    first = period.since.astimezone(period.tz).replace(minute=0)
    if time.name == "day":
        first = first.replace(hour=0)
    return msgspec.structs.replace(period, since=first.astimezone(UTC), step=TIMES[time.name])


def query(view: View, days: SummedDays | None, pivot: Pivot) -> Query:
    """Build the query; see `table` for its result."""
    rows, columns = _placed(pivot.rows, "row"), _placed(pivot.columns, "column")
    names = {pivot.measure.name, pivot.measure.counted}
    if pivot.measure.name in ("cost", "cost_mean"):
        names |= {"unpriced", "estimated"}
    figures = measures.chosen(names)
    weight = " + ".join(f"ifNull(sum(u.{name}), 0)" for name in pivot.measure.weight)
    sql = measures.query("dashboard_pivot", figures)
    for place, text in (("row_dimension", rows.sql), ("column_dimension", columns.sql), ("weight", weight)):
        sql = sql.replace(f"{{{place}:Identifier}}", text)
    by = [*rows.columns, *columns.columns]
    needed = [name for name in source_sql.columns_used(sql, *measures.columns(figures)) if name != "cache"]
    lines = {view.since, view.until}
    if pivot.rows.is_time:
        lines |= {start + half for start in starts(pivot.rows, view) for half in (timedelta(), _HALF)}
    more: dict[str, Any] = {
        "row_key": pivot.rows.key,
        "column_key": pivot.columns.key if pivot.columns else "",
        "most_rows": MAX_TIMES if pivot.rows.is_time else pivot.top_rows,
        "most_columns": pivot.top_columns,
        "in_time": int(pivot.rows.is_time),
        "counted": pivot.measure.counted,
    }
    view = source_sql.within(view, lines)
    parameters = view.parameters() | source_sql.parameters(view, lines=lines, first=view.since) | more
    parameters |= joint_source.parameters(days, lines=lines)
    text = sql.replace("metrion.{source:Identifier}", joint_source.source(view, days, needed, *by))
    settings = {"max_execution_time": _SECONDS, "max_threads": _THREADS}
    return Query("dashboard_pivot", parameters, settings, text=runner.stripped(text))


def _placed(chosen: Dimension | None, place: str) -> Dimension:
    """Return a dimension as it is in rows or columns."""
    if chosen is None:
        return Dimension("", "", "''", ())
    return (
        msgspec.structs.replace(chosen, sql=f"u.{place}_property", columns=(f"{place}_property",))
        if chosen.key
        else chosen
    )


class Table(msgspec.Struct, frozen=True):
    """The result of a pivot. `rows` and `columns`: names, or OTHER."""

    rows: Sequence[str | None]
    columns: Sequence[str | None]
    cells: Mapping[tuple[int, int], Mapping[str, Any]]  # measures by place from 1; 0: total
    groups_of_rows: int = 0
    groups_of_columns: int = 0
    failure: str = ""

    @property
    def total(self) -> Mapping[str, Any]:
        """The measures of all requests; {} without any."""
        return self.cells.get((0, 0), {})


OTHER = None


def table(result: QueryResult, pivot: Pivot) -> Table:
    """Arrange the result of the query."""
    cells = {(row["row_at"], row["column_at"]): row for row in result.rows}
    total = cells.get((0, 0), {})
    most_rows = MAX_TIMES if pivot.rows.is_time else pivot.top_rows
    return Table(
        rows=_names(((row["row_at"], row["row_key"]) for row in result.rows if not row["column_at"]), most_rows),
        columns=_names(
            ((row["column_at"], row["column_key"]) for row in result.rows if not row["row_at"]), pivot.top_columns
        )
        if pivot.columns
        else (),
        cells=cells,
        groups_of_rows=total.get("groups_of_rows", 0),
        groups_of_columns=total.get("groups_of_columns", 0),
        failure=result.failure,
    )


def _names(places: Iterable[tuple[int, str]], most: int) -> list[str | None]:
    named = {at: name for at, name in places if at}
    return [name if at <= most else OTHER for at, name in sorted(named.items())]


def keys(view: View, days: SummedDays | None) -> Query:
    """Build the query for the most used keys of metadata."""
    days = days or SummedDays(_EPOCH, _EPOCH)
    bounds = {"first_day": days.first, "until_day": days.until, "touched_days": list(days.touched)}
    return Query("dashboard_metadata_keys", view.parameters() | bounds)
