"""SQL of the source of sums by any dimensions together, metadata included.

What the rollup keeps by quarter hour is read from there. Other combinations are read from usage_days, one row per day
and combination. The days that the query cuts, and those that usage_days does not have, are read from the sums by
quarter hour if these have the columns, else from the requests.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.dashboard.page_params import View
from services.dashboard.queries import source_sql
from services.dashboard.queries.runner import Query, QueryRunner
from services.dashboard.queries.source_sql import STATES
from shared import rollup_days

_DAY = timedelta(days=1)
_ALWAYS = {"account", "bucket"}
_FILTERED = {"meta": "property", "failed": "errors", "cache": "hits"}  # columns of filters of other names
_IN_DAYS = """q.bucket >= {first:DateTime64(6, 'UTC')} AND q.bucket < {until:DateTime64(6, 'UTC')}
AND q.bucket >= {first_day:DateTime('UTC')} AND q.bucket < {until_day:DateTime('UTC')}"""
_NOT_READ = "NOT has({read_days:Array(DateTime('UTC'))}, q.bucket)"
_READ = """{at} >= {{first:DateTime64(6, 'UTC')}} AND {at} < {{until:DateTime64(6, 'UTC')}}
AND ({at} >= {{until_day:DateTime('UTC')}} OR {at} < {{first_day:DateTime('UTC')}}
    OR has({{read_days:Array(DateTime('UTC'))}}, toStartOfDay(toDateTime({at}, 'UTC'))))"""


class SummedDays(msgspec.Struct, frozen=True):
    """Which days usage_days has: from `first` to before `until`, except `touched`."""

    first: datetime
    until: datetime
    touched: tuple[datetime, ...] = ()


async def summed_days(runner: QueryRunner) -> SummedDays | None:
    """Read which days usage_days has; None for none."""
    parameters = {"settling": int(rollup_days.SETTLING.total_seconds())}
    row = (await runner.run(Query("dashboard_days", parameters))).row
    return SummedDays(row["first"], row["until"], tuple(row["touched"])) if row else None


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
        return _of_days(view, columns, with_quarters=in_quarters and view.touched is not None)
    return source_sql.by_quarters(view, columns) if in_quarters else source_sql.requests(view, columns)


def parameters(days: SummedDays | None, *, lines: Collection[datetime]) -> dict[str, Any]:
    """Return the parameters of the source: days to read from the requests."""
    if days is None:
        return {}
    return {
        "first_day": days.first,
        "until_day": max(days.until, days.first),
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


def _of_days(view: View, columns: Collection[str], *, with_quarters: bool) -> str:
    expressions = source_sql.columns_of("of_days")
    conditions = source_sql.filter_conditions(view, expressions), *source_sql.other_conditions(view, expressions)
    chosen = " AND ".join((_IN_DAYS, _NOT_READ, *conditions))
    rest = f"metrion.usage_days AS q FINAL PREWHERE {chosen} WHERE q.requests > 0"
    days = source_sql.select(columns, expressions, rest)
    if with_quarters:
        return source_sql.union(days, *source_sql.settled_and_recent(view, columns, first=_READ))
    read = " AND ".join(
        (_READ.format(at="e.started_at"), *source_sql.other_conditions(view, source_sql.columns_of("of_requests")))
    )
    return source_sql.union(days, source_sql.from_requests(view, columns, first=read))
