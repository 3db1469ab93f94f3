"""SQL source for sums grouped by any combination of dimensions, metadata included.

What the rollup keeps by quarter hour is read from there. Other combinations are read from usage_days, one row per day
and combination; those of a session from usage_session_days. The days that the query cuts, and those that the table does
not have, are read from the sums by quarter hour if these have the columns, else from the requests.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from services.dashboard.page_params import View
from services.dashboard.queries import source_sql
from services.dashboard.queries.runner import Query, QueryRunner
from services.dashboard.queries.source_sql import STATES
from shared import rollup_days
from shared.rollup import NEVER

_DAY = timedelta(days=1)
_ALWAYS = {"account", "bucket"}
_FILTERED = {"meta": "property", "failed": "errors", "cache": "hits"}  # columns of filters of other names
_SESSION_KEYS = {*_ALWAYS, "session", "client", "agent", "billing", "requester"}
_IN_DAYS = """q.bucket >= {{first:DateTime64(6, 'UTC')}} AND q.bucket < {{until:DateTime64(6, 'UTC')}}
AND q.bucket >= {{first_{day}:DateTime('UTC')}} AND q.bucket < {{until_{day}:DateTime('UTC')}}"""
HAS_SESSION = "{row}.session != ''"  # condition on a row of a table
_NOT_READ = "NOT has({read_days:Array(DateTime('UTC'))}, q.bucket)"
_READ = """{at} >= {{first:DateTime64(6, 'UTC')}} AND {at} < {{until:DateTime64(6, 'UTC')}}
AND ({at} >= {{until_{day}:DateTime('UTC')}} OR {at} < {{first_{day}:DateTime('UTC')}}
    OR has({{read_days:Array(DateTime('UTC'))}}, toStartOfDay(toDateTime({at}, 'UTC'))))"""


class SummedDays(msgspec.Struct, frozen=True):
    """Which days usage_days has: from `first` to before `until`, except `touched`.

    `first_of_sessions`: the first one of usage_session_days.
    """

    first: datetime
    until: datetime
    touched: tuple[datetime, ...] = ()
    first_of_sessions: datetime = NEVER


class _Table(NamedTuple):
    """A table of sums by day. `day`: the end of the names of its parameters."""

    name: str
    columns: Mapping[str, str]  # expressions by column
    day: str


def _days() -> _Table:
    return _Table("usage_days", source_sql.columns_of("of_days"), "day")


def _session_days() -> _Table:
    return _Table("usage_session_days", source_sql.columns_of("of_session_days"), "session_day")


async def summed_days(runner: QueryRunner) -> SummedDays | None:
    """Read which days usage_days has; None for none."""
    parameters = {"settling": int(rollup_days.SETTLING.total_seconds())}
    row = (await runner.run(Query("dashboard_days", parameters))).row
    return SummedDays(row["first"], row["until"], tuple(row["touched"]), row["first_of_sessions"]) if row else None


def source(view: View, days: SummedDays | None, columns: Collection[str], *by: str) -> str:
    """Return the smallest source with these columns, grouped by some of them."""
    named = ({*by} | view.conditions) - {"account"}
    keys = named - _ALWAYS
    sums = set(columns) - keys - _ALWAYS
    in_quarters = keys <= _quarter_keys()
    if set(STATES) & sums:
        if keys <= {"provider", "model"}:
            return source_sql.latency(view, columns, *by)
        return source_sql.by_quarters(view, columns) if in_quarters else source_sql.requests(view, columns)
    if keys <= {"requester"} and sums <= _requester_sums():
        return source_sql.requesters(view, columns)
    if in_quarters and ("requester" not in keys or "bucket" in named or days is None):
        return source_sql.totals(view, columns, *keys)
    is_in_days = {_FILTERED.get(name, name) for name in keys} | sums <= set(source_sql.columns_of("of_days"))
    if days is not None and is_in_days:
        return _of_days(view, columns, _days(), with_quarters=in_quarters and view.touched is not None)
    has_sessions = _has_whole_day(view, days) and keys <= _SESSION_KEYS
    if has_sessions and sums <= set(_session_days().columns):
        return _of_days(view, columns, _session_days())
    return source_sql.by_quarters(view, columns) if in_quarters else source_sql.requests(view, columns)


def of_sessions(view: View, days: SummedDays | None, columns: Collection[str], *, only: str = HAS_SESSION) -> str:
    """Return the source of sums by session.

    `columns`: of usage_session_days. `only`: a condition on sessions.
    """
    if _has_whole_day(view, days) and view.conditions <= _SESSION_KEYS:
        return _of_days(view, columns, _session_days(), only=only)
    first = f"{source_sql.chosen_requests(view)} AND {only.format(row='e')}"
    return source_sql.union(source_sql.from_requests(view, columns, first=first))


def _has_whole_day(view: View, days: SummedDays | None) -> bool:
    """Whether usage_session_days may have a day of the view's period."""
    if days is None:
        return False
    first = max(days.first_of_sessions, view.since + -(view.since - NEVER) % _DAY)
    return first + _DAY <= min(view.until, days.until)


def parameters(days: SummedDays | None, *, lines: Collection[datetime]) -> dict[str, Any]:
    """Return the parameters of the source: days to read from the requests."""
    if days is None:
        return {}
    return {
        "first_day": days.first,
        "until_day": max(days.until, days.first),
        "first_session_day": days.first_of_sessions,
        "until_session_day": max(days.until, days.first_of_sessions),
        "read_days": sorted({*source_sql.span_starts(lines, _DAY), *days.touched}),
    }


def _quarter_keys() -> set[str]:
    """Return the columns and filters that sums by quarter hour know."""
    return {"provider", "model", "token", "status", "outcome", "requester", "cache", "cost", "priced"}


def _requester_sums() -> set[str]:
    """Return the sums of usage_requester_sums."""
    return {
        "requests",
        "errors",
        "hits",
        "unpriced",
        "estimated",
        "input_tokens",
        "output_tokens",
        "cost",
        "cost_saved",
        "answered",
        "answered_ms",
    }


def _of_days(
    view: View, columns: Collection[str], table: _Table, *, with_quarters: bool = False, only: str = "true"
) -> str:
    """Return the source of a table's days, and of others from quarters or requests. `only`: a condition on rows."""
    conditions = (
        source_sql.filter_conditions(view, table.columns),
        *source_sql.other_conditions(view, table.columns),
        only.format(row="q"),
    )
    chosen = " AND ".join((_IN_DAYS.format(day=table.day), _NOT_READ, *conditions))
    rest = f"metrion.{table.name} AS q FINAL PREWHERE {chosen} WHERE q.requests > 0"
    days = source_sql.select(columns, table.columns, rest)
    read = _READ.replace("{day}", table.day)
    if with_quarters:
        return source_sql.union(days, *source_sql.settled_and_recent(view, columns, first=read))
    of_requests = " AND ".join(
        (
            read.format(at="e.started_at"),
            *source_sql.other_conditions(view, source_sql.columns_of("of_requests")),
            only.format(row="e"),
        )
    )
    return source_sql.union(days, source_sql.from_requests(view, columns, first=of_requests))
