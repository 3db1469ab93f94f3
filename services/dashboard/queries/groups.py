"""Measures grouped by up to three dimensions together, metadata included."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from services.dashboard.page_params import View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import joint_source, measures, runner, source_sql
from services.dashboard.queries.joint_source import SummedDays
from services.dashboard.queries.runner import Query
from shared.recent import DAY, HOUR

METADATA = "meta:"  # before a key of metadata
MAX_KEY = 256  # characters of a key
MAX_DIMENSIONS = 3
MAX_DAYS_OF_HOURS = 32
_THREADS = 2  # of sums by day and of requests, of which there may be millions
_PLACES = ("first", "second", "third")
_PROPERTIES = ("row_property", "column_property")  # of the source, for keys of metadata
_KEYS = ("row_key", "column_key")
_HALF = timedelta(minutes=30)  # time zones shift their clocks by at least half an hour
_ALONE = frozenset({"account", "provider", "model", "token", "status", "outcome", "bucket"})  # in sums by quarter hour


class Dimension(msgspec.Struct, frozen=True):
    """What requests are grouped by: SQL over the source `u`, and the columns it needs."""

    name: str
    sql: str
    columns: tuple[str, ...]


TIMES = {"day": DAY, "hour": HOUR}  # local days; local hours, in Unix seconds
DIMENSIONS: Mapping[str, Dimension] = {
    **{
        name: Dimension(name, f"u.{name}", (name,))
        for name in (
            "account", "token", "requester", "provider", "model", "endpoint", "status", "outcome", "client", "agent",
            "session",
        )
    },
    "cache": Dimension("cache", "if(u.hits > 0, 'yes', 'no')", ("cache",)),
    "day": Dimension("day", "toDate(u.bucket, {tz:String})", ("bucket",)),
    "hour": Dimension("hour", "toUnixTimestamp(toStartOfHour(toTimeZone(u.bucket, {tz:String})))", ("bucket",)),
}  # fmt: skip


def dimensions(names: Sequence[str], view: View) -> list[Dimension]:
    """Return the dimensions of these names, at most three; raises BadParameter."""
    if len(names) > MAX_DIMENSIONS:
        raise BadParameter(f"group_by has at most {MAX_DIMENSIONS} dimensions.")
    if len(set(names)) != len(names):
        raise BadParameter("group_by names a dimension twice.")
    chosen = []
    properties = iter(_PROPERTIES)
    for name in names:
        key = name.removeprefix(METADATA)
        if name.startswith(METADATA) and 0 < len(key) <= MAX_KEY:
            column = next(properties, "")
            if not column:
                raise BadParameter(f"group_by has at most {len(_PROPERTIES)} keys of metadata.")
            chosen.append(Dimension(name, f"u.{column}", (column,)))
        elif name in DIMENSIONS:
            chosen.append(DIMENSIONS[name])
        else:
            raise BadParameter(
                f"Unknown dimension {name!r} in group_by. Use {', '.join(DIMENSIONS)}, or {METADATA}KEY of metadata."
            )
    if sum(name in TIMES for name in names) > 1:
        raise BadParameter("group_by has day or hour, not both.")
    if "hour" in names and view.until - view.since > timedelta(days=MAX_DAYS_OF_HOURS):
        raise BadParameter(f"Hours need a period of at most {MAX_DAYS_OF_HOURS} days.")
    return chosen


def need_days(chosen: Sequence[Dimension], view: View) -> bool:
    """Whether the query may read the sums by day, so that it matters which there are."""
    by = {column for dimension in chosen for column in dimension.columns}
    return not by | view.conditions <= _ALONE


def query(
    view: View,
    days: SummedDays | None,
    chosen: Sequence[Dimension],
    names: Collection[str],
    *,
    ordered: str,
    limit: int,
    offset: int,
) -> Query:
    """Query these measures of each group; see `values` for the dimensions in its rows."""
    figures = measures.chosen({"requests", ordered, *names})
    sql = measures.query("dashboard_groups", figures)
    for place, dimension in zip(_PLACES, [*chosen, *[Dimension("", "''", ())] * MAX_DIMENSIONS], strict=False):
        sql = sql.replace(f"{{{place}_dimension:Identifier}}", dimension.sql)
    by = [column for dimension in chosen for column in dimension.columns]
    needed = source_sql.columns_used(sql, *measures.columns(figures), *by)
    columns = [name for name in needed if name != "cache"]  # hits tell
    time = next((dimension for dimension in chosen if dimension.name in TIMES), None)
    lines = {view.since, view.until} | (_starts(time, view) if time else set())
    view = source_sql.within(view, lines)
    keys = [dimension.name.removeprefix(METADATA) for dimension in chosen if dimension.name.startswith(METADATA)]
    parameters = view.parameters() | source_sql.parameters(view, lines=lines, first=view.since)
    parameters |= joint_source.parameters(days, lines=lines)
    parameters |= dict.fromkeys(_KEYS, "") | dict(zip(_KEYS, keys, strict=False))
    parameters |= {
        "time_at": chosen.index(time) + 1 if time else 0,
        "ordered": ordered,
        "limit": limit,
        "offset": offset,
    }
    text = sql.replace("metrion.{source:Identifier}", joint_source.source(view, days, columns, *by))
    settings = {"max_threads": _THREADS} if need_days(chosen, view) else {}
    return Query("dashboard_groups", parameters, settings, text=runner.stripped(text))


def values(row: Mapping[str, str], chosen: Sequence[Dimension], view: View) -> dict[str, str]:
    """Return the values of a row's dimensions by their names; hours as local times."""
    found = {}
    for place, dimension in zip(_PLACES, chosen, strict=False):
        value = row[place]
        if dimension.name == "hour":
            value = datetime.fromtimestamp(int(value), UTC).astimezone(view.tz).isoformat()
        found[dimension.name] = value
    return found


def _starts(time: Dimension, view: View) -> set[datetime]:
    """Return the starts of the local days or hours of a period, and for hours their halves."""
    local = view.since.astimezone(view.tz).replace(minute=0)
    first = local.replace(hour=0) if time.name == "day" else local
    period = msgspec.structs.replace(view.period, since=first.astimezone(UTC), step=TIMES[time.name])
    starts = set(period.buckets())
    return starts | {start + _HALF for start in starts} if time.name == "hour" else starts
