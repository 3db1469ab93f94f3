"""SQL of the smallest table of the rollup that has the columns of a query.

Settled data come from the rollup. Quarter hours that are `touched` (requests arrived since the last pass) are read from
the requests. Each part applies the view's filters and selects only the columns of the query: the schema's views, which
detect touched quarters and have all columns, take ClickHouse longer to analyse than the query takes to run.
"""

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.dashboard.page_params import View
from services.dashboard.periods import Period
from shared import clickhouse

_QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIMS = {"model": {"provider", "model"}, "status": {"status", "outcome"}, "token": {"token"}}  # of usage_sums
_TABLE_KEYS = {  # the key columns of each table of narrow sums
    "usage_sums": {"account", "bucket", "provider", "model", "token", "status", "outcome"},
    "usage_requester_sums": {"account", "bucket", "requester"},
    "usage_latency_states": {"account", "bucket", "provider", "model"},
}
# Columns that narrow sums lack: queries name them, but never filter by them there.
_CONSTANTS = {
    "provider": "''",
    "model": "''",
    "token": "''",
    "status": "toUInt16(200)",
    "outcome": "'complete'",
    "cache": "''",
    "usage_source": "''",
    "priced": "true",
}
_STATES = {
    "latency": "quantilesTDigestState(0.5, 0.95, 0.99)(e.latency_ms)",
    "ttfb": "quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(e.ttfb_ms), e.ttfb_ms IS NOT NULL)",
}
_IS_FAULT = "(e.is_error OR e.cost IS NULL)"
_IS_TOUCHED = """toStartOfHour(e.started_at) IN {touched_hours:Array(DateTime('UTC'))}
AND has({touched:Array(DateTime('UTC'))}, toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC')))
AND e.started_at >= arrayMin({touched:Array(DateTime('UTC'))})"""
_FILTERS = {  # conditions over a table's own columns; for what no sums have see _OF_REQUESTS
    "account": "{account} = {{account:String}}",
    "provider": "{provider} = {{provider:String}}",
    "model": "{model} = {{model:String}}",
    "requester": "{requester} = {{requester:String}}",
    "token": "{token} = {{token:String}}",
    "status": "{status} BETWEEN {{status_from:UInt16}} AND {{status_to:UInt16}}",
    "failed": "({errors} > 0) = ({{failed:UInt8}} = 1)",  # of a single request: sums may hold both kinds
    "outcome": "{outcome} = {{outcome:String}}",
    "cache": "({hits} > 0) = ({{cache:String}} = 'yes')",
    "cost": "if({{cost:String}} = 'unknown', NOT {priced}, {estimated} > 0)",
}
# Conditions of the filters that no sums have. All versions of a request agree on them.
_OF_REQUESTS = {
    "client": "e.client = {client:String}",
    "agent": "e.agent = {agent:String}",
    "session": "e.session = {session:String}",
    "billing": "(e.billing = 'subscription') = ({billing:String} = 'subscription')",
    "meta": "mapContains(e.metadata, {meta_key:String}) AND e.metadata[{meta_key:String}] = {meta_value:String}",
}
_IN_PERIOD = "e.started_at >= {first:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}"
_NOT_TOUCHED = "NOT has({touched:Array(DateTime('UTC'))}, q.bucket)"
# Narrow sums of the widest spans that contain neither a boundary of the query nor a touched quarter.
_SPANS = """(q.span = 86400 AND NOT has({cut_days:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 14400 AND toStartOfDay(q.bucket) IN {cut_days:Array(DateTime('UTC'))}
    AND NOT has({cut_fours:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 3600 AND toStartOfInterval(q.bucket, INTERVAL 4 HOUR) IN {cut_fours:Array(DateTime('UTC'))}
    AND NOT has({cut_hours:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 900 AND toStartOfHour(q.bucket) IN {cut_hours:Array(DateTime('UTC'))}
    AND NOT has({touched:Array(DateTime('UTC'))}, q.bucket))"""
_U_COLUMN = re.compile(r"\bu\.(\w+)")


def columns_used(sql: str, *more: str) -> list[str]:
    """Return the columns of the source `u` that a query names, and `more`."""
    return list(dict.fromkeys((*_U_COLUMN.findall(sql), *more)))


def totals(view: View, columns: Collection[str], *by: str) -> str:
    """Return the source of sums by any columns but requester."""
    needed = {*view.conditions, *by} - {"account"}
    dims = next((dims for dims, names in _DIMS.items() if needed <= names), "")
    if view.touched is None or not dims:
        return by_quarters(view, columns)
    return _union(_narrow(view, "usage_sums", columns, f"q.dims = '{dims}'"), _recent(view, columns))


def requesters(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source of sums by requester."""
    if view.touched is None or not view.conditions <= {"requester"}:
        return by_quarters(view, columns)
    return _union(_narrow(view, "usage_requester_sums", columns), _recent(view, columns))


def latency(view: View, columns: Collection[str], *by: str) -> str:
    """Return the source of latency states of successful, uncached responses."""
    if view.touched is None or not view.conditions <= {"provider", "model"}:
        return by_quarters(view, columns)
    whole = int(not {"provider", "model"} & {*view.filters, *by})
    return _union(_narrow(view, "usage_latency_states", columns, f"q.whole = {whole}"), _recent(view, columns))


def faults(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source of requests that failed or have unknown cost."""
    if not in_sums(view):
        return _union(_requests(view, columns, first=_chosen_requests(view), where=_IS_FAULT))
    expressions = {name: f"q.{name}" for name in (*_columns("of_quarters"), *columns)}
    if view.touched is None:
        return _union(
            _select(columns, expressions, f"metrion.usage_faults AS q WHERE {_conditions(view, expressions)}")
        )
    condition = f"{_conditions(view, expressions)} AND {_NOT_TOUCHED}"
    rest = f"metrion.usage_faults_15m AS q FINAL PREWHERE {condition} WHERE q.requests > 0"
    return _union(_select(columns, expressions, rest), _recent(view, columns, where=_IS_FAULT))


def in_sums(view: View) -> bool:
    """Whether the rollup has the columns of all filters of the view."""
    return not (_OF_REQUESTS.keys() | {"failed"}) & view.conditions


def by_quarters(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source with all columns, by quarter hour."""
    if not in_sums(view):
        return _union(_requests(view, columns, first=_chosen_requests(view)))
    table = "usage" if "requester" in {*columns, *view.filters} else "usage_totals"
    expressions = _columns("of_quarters")
    conditions = _conditions(view, expressions)
    if set(columns) & set(_STATES):  # an older release kept states of all finished requests
        conditions += " AND q.answered > 0"
    if view.touched is None:
        return _union(_select(columns, expressions, f"metrion.{table} AS q WHERE {conditions}"))
    rest = f"metrion.{table}_15m AS q FINAL PREWHERE {conditions} AND {_NOT_TOUCHED} WHERE q.requests > 0"
    return _union(_select(columns, expressions, rest), _recent(view, columns))


def parameters(
    view: View, *, lines: Iterable[datetime], whole: Iterable[datetime] = (), first: datetime
) -> dict[str, Any]:
    """Return the parameters of sources: touched quarters and spans to split.

    Spans are split at `lines`, the boundaries of the query; only days are split at `whole`, which may be approximate.
    """
    touched = view.touched or []
    cut = {*lines, *(quarter + _QUARTER / 2 for quarter in touched)}
    return {
        "touched": touched,
        "touched_hours": sorted({at.replace(minute=0) for at in touched}),
        "cut_days": _span_starts({*cut, *whole}, timedelta(days=1)),
        "cut_fours": _span_starts(cut, timedelta(hours=4)),
        "cut_hours": _span_starts(cut, timedelta(hours=1)),
        "first": first,
    }


def lines(periods: Iterable[Period]) -> set[datetime]:
    """Return the bucket boundaries of periods."""
    return {at for period in periods for at in (*period.buckets(), period.until)}


def _span_starts(moments: Iterable[datetime], span: timedelta) -> list[datetime]:
    """Return the starts of the spans that contain these times."""
    return sorted({at - (at - _EPOCH) % span for at in moments if (at - _EPOCH) % span})


def _conditions(view: View, expressions: Mapping[str, str]) -> str:
    """Return the condition of the view's filters over the columns of a table."""
    chosen = {*view.conditions, *(["account"] if view.account else [])}
    conditions = [condition.format_map(expressions) for name, condition in _FILTERS.items() if name in chosen]
    return " AND ".join(conditions) or "true"


def _narrow(view: View, table: str, columns: Collection[str], condition: str = "true") -> str:
    expressions = _columns("of_quarters") | {name: f"q.{name}" for name in columns}
    constant = {name: value for name, value in _CONSTANTS.items() if name not in _TABLE_KEYS[table]}
    rest = f"metrion.{table} AS q FINAL PREWHERE {condition} AND {_conditions(view, expressions)} AND {_SPANS}"
    return _select(columns, expressions | constant, rest)


def _recent(view: View, columns: Collection[str], *, where: str = "true") -> str:
    return _requests(view, columns, first=_IS_TOUCHED, where=where)


def _chosen_requests(view: View) -> str:
    """Return the condition of the period and of the filters that no sums have."""
    return " AND ".join((_IN_PERIOD, *(condition for name, condition in _OF_REQUESTS.items() if name in view.filters)))


def _requests(view: View, columns: Collection[str], *, first: str = "true", where: str = "true") -> str:
    """Return one row per request, or per key for latency states. `first`: same for all versions of a request."""
    expressions = _columns("of_requests") | _STATES
    rest = f"metrion.response_events AS e FINAL PREWHERE {first} WHERE {_conditions(view, expressions)} AND {where}"
    if set(columns) & set(_STATES):
        keys = ", ".join(expressions[name] for name in columns if name not in _STATES)
        rest += f" AND e.is_answered GROUP BY {keys}"
    return _select(columns, expressions, rest)


def _select(columns: Collection[str], expressions: Mapping[str, str], rest: str) -> str:
    named = ", ".join(f"{expressions[name]} AS {name}" for name in columns)
    return f"SELECT {named}\nFROM {rest}\nSETTINGS do_not_merge_across_partitions_select_final = 1"


def _union(*selects: str) -> str:
    return "(\n" + "\nUNION ALL\n".join(selects) + "\n)"


@functools.cache
def _columns(part: str) -> dict[str, str]:
    """Return the expressions of shared/queries/parts by column."""
    lines = (clickhouse.QUERIES / "parts" / f"{part}.sql").read_text().splitlines()
    pairs = (line.rsplit(" AS ", 1) for line in lines if not line.startswith("--"))
    return {name: expression for expression, name in pairs}
