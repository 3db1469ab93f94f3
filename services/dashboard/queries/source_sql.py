"""SQL of the smallest table of the rollup that has the columns of a query.

Settled data come from the rollup. Quarter hours that are `touched` (requests arrived since the last pass) are read from
the requests. Each part applies the view's filters and selects only the columns of the query: the schema's views, which
detect touched quarters and have all columns, take ClickHouse longer to analyse than the query takes to run.

A comparison ends at the present second, within a quarter hour of the previous period: the requests of that quarter are
read, too, and split there.
"""

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from services.dashboard.filter_params import MINIMUMS
from services.dashboard.page_params import View
from services.dashboard.periods import Period
from shared import clickhouse

_QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Dimensions of usage_sums and their columns. All of them have the same totals: the first has the fewest rows.
DIMS = {"status": {"status", "outcome"}, "model": {"provider", "model"}, "token": {"token"}}
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
STATES = {
    "latency": "quantilesTDigestState(0.5, 0.95, 0.99)(e.latency_ms)",
    "ttfb": "quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(e.ttfb_ms), e.ttfb_ms IS NOT NULL)",
}
_IS_FAULT = "(e.is_error OR e.cost IS NULL)"
_IS_TOUCHED = """toStartOfHour(e.started_at) IN {touched_hours:Array(DateTime('UTC'))}
AND has({touched:Array(DateTime('UTC'))}, toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC')))
AND e.started_at >= arrayMin({touched:Array(DateTime('UTC'))})"""
_FILTERS = {  # conditions over a table's own columns; for what no sums have see OF_REQUESTS
    "account": "{account} = {{account:String}}",
    "provider": "{provider} IN {{provider:Array(String)}}",
    "model": "{model} IN {{model:Array(String)}}",
    "requester": "{requester} IN {{requester:Array(String)}}",
    "token": "{token} IN {{token:Array(String)}}",
    "status": "{status} BETWEEN {{status_from:UInt16}} AND {{status_to:UInt16}}",
    "failed": "({errors} > 0) = ({{failed:UInt8}} = 1)",  # of a single request: sums may hold both kinds
    "outcome": "{outcome} IN {{outcome:Array(String)}}",
    "cache": "({hits} > 0) = ({{cache:String}} = 'yes')",
    "cost": "if({{cost:String}} = 'unknown', NOT {priced}, {estimated} > 0)",
    # of a single request, too, and not the same in all versions of it
    "min_cost": "{cost} >= {{min_cost:Decimal(38, 12)}}",
    "min_tokens": "{listed_tokens} >= {{min_tokens:UInt64}}",
    "min_latency": "{listed_latency_ms} >= {{min_latency_ms:UInt32}}",
}
# Conditions of the filters that sums by quarter hour lack. All versions of a request agree on them.
OF_REQUESTS = {
    "endpoint": "{endpoint} IN {{endpoint:Array(String)}}",
    "connection": "{connection} IN {{connection:Array(String)}}",
    "client": "{client} IN {{client:Array(String)}}",
    "agent": "{agent} IN {{agent:Array(String)}}",
    "session": "{session} IN {{session:Array(String)}}",
    "billing": "({billing} = 'subscription') = ({{billing:String}} = 'subscription')",
    "source": "{source} = {{source:String}}",
    "meta": "if({{meta_absent:UInt8}} = 1, {property} = '', {has_property} AND {property} = {{meta_value:String}})",
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


def within(view: View, lines: Collection[datetime]) -> View:
    """Return the view with the touched quarters between these lines and a split one."""
    if view.touched is None:
        return view
    touched = {at for at in view.touched if min(lines) - _QUARTER < at < view.until}
    return msgspec.structs.replace(view, touched=sorted({*touched, *span_starts({_split(lines)}, _QUARTER)}))


def columns_used(sql: str, *more: str) -> list[str]:
    """Return the columns of the source `u` that a query names, and `more`."""
    return list(dict.fromkeys((*_U_COLUMN.findall(sql), *more)))


def totals(view: View, columns: Collection[str], *by: str) -> str:
    """Return the source of sums by any columns but requester."""
    needed = {*view.conditions, *by} - {"account"}
    dims = next((dims for dims, names in DIMS.items() if needed <= names), "")
    if view.touched is None or not dims:
        return by_quarters(view, columns)
    return union(_narrow(view, "usage_sums", columns, f"q.dims = '{dims}'"), _recent(view, columns))


def requesters(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source of sums by requester."""
    if view.touched is None or not view.conditions <= {"requester"}:
        return by_quarters(view, columns)
    return union(_narrow(view, "usage_requester_sums", columns), _recent(view, columns))


def latency(view: View, columns: Collection[str], *by: str) -> str:
    """Return the source of latency states of successful, uncached responses."""
    if view.touched is None or not view.conditions <= {"provider", "model"}:
        return by_quarters(view, columns)
    whole = int(not {"provider", "model"} & {*view.filters, *by})
    return union(_narrow(view, "usage_latency_states", columns, f"q.whole = {whole}"), _recent(view, columns))


def faults(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source of requests that failed or have unknown cost."""
    if not in_sums(view):
        return union(from_requests(view, columns, first=chosen_requests(view), where=_IS_FAULT))
    expressions = {name: f"q.{name}" for name in (*columns_of("of_quarters"), *columns)}
    if view.touched is None:
        return union(
            select(columns, expressions, f"metrion.usage_faults AS q WHERE {filter_conditions(view, expressions)}")
        )
    condition = f"{filter_conditions(view, expressions)} AND {_NOT_TOUCHED}"
    rest = f"metrion.usage_faults_15m AS q FINAL PREWHERE {condition} WHERE q.requests > 0"
    return union(select(columns, expressions, rest), _recent(view, columns, where=_IS_FAULT))


def in_sums(view: View) -> bool:
    """Whether the rollup has the columns of all filters of the view."""
    return not (OF_REQUESTS.keys() | MINIMUMS.keys() | {"failed"}) & view.conditions


def by_quarters(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source with all columns, by quarter hour."""
    if not in_sums(view):
        return union(from_requests(view, columns, first=chosen_requests(view)))
    if view.touched is None:
        rest = f"metrion.{_quarters(view, columns)} AS q WHERE {_of_quarters(view, columns)}"
        return union(select(columns, columns_of("of_quarters"), rest), _recent(view, columns))
    return union(*settled_and_recent(view, columns))


def settled_and_recent(view: View, columns: Collection[str], *, first: str = "true") -> tuple[str, str]:
    """Return the SELECTs of settled quarter hours and of the requests of touched ones.

    `first`: a condition on the time `{at}`.
    """
    condition = f"{_of_quarters(view, columns)} AND {first.format(at='q.bucket')}"
    rest = f"metrion.{_quarters(view, columns)}_15m AS q FINAL PREWHERE {condition} WHERE q.requests > 0"
    settled = select(columns, columns_of("of_quarters"), rest)
    return settled, _recent(view, columns, first=first.format(at="e.started_at"))


def _quarters(view: View, columns: Collection[str]) -> str:
    """Return the smaller view that has the columns; its table has the suffix _15m."""
    return "usage" if "requester" in {*columns, *view.filters} else "usage_totals"


def _of_quarters(view: View, columns: Collection[str]) -> str:
    """Return the condition on settled quarter hours."""
    condition = f"{filter_conditions(view, columns_of('of_quarters'))} AND {_NOT_TOUCHED}"
    if set(columns) & set(STATES):  # an older release kept states of all finished requests
        condition += " AND q.answered > 0"
    return condition


def requests(view: View, columns: Collection[str], *_by: str) -> str:
    """Return the source with all columns of requests, one row each."""
    return union(from_requests(view, columns, first=chosen_requests(view)))


def parameters(
    view: View, *, lines: Collection[datetime], whole: Iterable[datetime] = (), first: datetime
) -> dict[str, Any]:
    """Return the parameters of sources: touched quarters and spans to split.

    Spans are split at `lines`, the boundaries of the query, one of which may be within a quarter hour; only days are
    split at `whole`, which may be approximate.
    """
    split = _split(lines)
    split_until = split + -(split - _EPOCH) % _QUARTER
    touched = sorted({*(view.touched or []), *span_starts({split}, _QUARTER)})
    cut = {*lines, *(quarter + _QUARTER / 2 for quarter in touched)}
    return {
        "touched": touched,
        "split": split,
        "split_until": split_until,
        "touched_hours": sorted({at.replace(minute=0) for at in touched}),
        "cut_days": span_starts({*cut, *whole}, timedelta(days=1)),
        "cut_fours": span_starts(cut, timedelta(hours=4)),
        "cut_hours": span_starts(cut, timedelta(hours=1)),
        "first": first,
    }


def _split(lines: Iterable[datetime]) -> datetime:
    """Return the boundary that lies within a quarter hour; 1970 for none."""
    return next((at for at in lines if (at - _EPOCH) % _QUARTER), _EPOCH)


def lines(periods: Iterable[Period]) -> set[datetime]:
    """Return the bucket boundaries of periods."""
    return {at for period in periods for at in (*period.buckets(), period.until)}


def span_starts(moments: Iterable[datetime], span: timedelta) -> list[datetime]:
    """Return the starts of the spans that contain these times."""
    return sorted({at - (at - _EPOCH) % span for at in moments if (at - _EPOCH) % span})


def filter_conditions(view: View, expressions: Mapping[str, str]) -> str:
    """Return the condition of the view's filters over the columns of a table."""
    chosen = {*view.conditions, *(["account"] if view.account else [])}
    conditions = [_condition(view, name, _FILTERS, expressions) for name in _FILTERS if name in chosen]
    return " AND ".join(conditions) or "true"


def _narrow(view: View, table: str, columns: Collection[str], condition: str = "true") -> str:
    expressions = columns_of("of_quarters") | {name: f"q.{name}" for name in columns}
    constant = {name: value for name, value in _CONSTANTS.items() if name not in _TABLE_KEYS[table]}
    rest = f"metrion.{table} AS q FINAL PREWHERE {condition} AND {filter_conditions(view, expressions)} AND {_SPANS}"
    return select(columns, expressions | constant, rest)


def _recent(view: View, columns: Collection[str], *, first: str = "true", where: str = "true") -> str:
    """Return the requests of touched quarters; "" for none.

    Planning this part takes longer than running it.
    """
    if not view.touched:
        return ""
    return from_requests(view, columns, first=f"{_IS_TOUCHED} AND {first}", where=where)


def chosen_requests(view: View) -> str:
    """Return the condition of the period and of the filters that sums lack."""
    return " AND ".join((_IN_PERIOD, *other_conditions(view, columns_of("of_requests"))))


def other_conditions(view: View, expressions: Mapping[str, str]) -> list[str]:
    """Return the conditions of the filters that sums by quarter hour lack."""
    return [_condition(view, name, OF_REQUESTS, expressions) for name in OF_REQUESTS if name in view.filters]


def _condition(view: View, name: str, conditions: Mapping[str, str], expressions: Mapping[str, str]) -> str:
    condition = conditions[name].format_map(expressions)
    return f"NOT ({condition})" if name in view.excluded else condition


def from_requests(view: View, columns: Collection[str], *, first: str = "true", where: str = "true") -> str:
    """Return one row per request, or per key for latency states.

    `first`: a condition on which all versions of a request agree.
    """
    expressions = columns_of("of_requests") | STATES
    is_of_latency = bool(set(columns) & set(STATES))
    if is_of_latency:
        expressions["answered"] = "count()"
    rest = (
        f"metrion.response_events AS e FINAL PREWHERE {first} WHERE {filter_conditions(view, expressions)} AND {where}"
    )
    if is_of_latency:
        keys = ", ".join(expressions[name] for name in columns if name not in {*STATES, "answered"})
        rest += f" AND e.is_answered GROUP BY {keys}"
    return select(columns, expressions, rest)


def select(columns: Collection[str], expressions: Mapping[str, str], rest: str) -> str:
    """Return a SELECT of these columns from a table with its conditions."""
    named = ", ".join(f"{expressions[name]} AS {name}" for name in columns)
    return f"SELECT {named}\nFROM {rest}\nSETTINGS do_not_merge_across_partitions_select_final = 1"


def union(*selects: str) -> str:
    """Return a source in parentheses; empty parts are left out."""
    return "(\n" + "\nUNION ALL\n".join(filter(None, selects)) + "\n)"


@functools.cache
def columns_of(part: str) -> dict[str, str]:
    """Return the expressions of shared/queries/parts by column."""
    lines = (clickhouse.QUERIES / "parts" / f"{part}.sql").read_text().splitlines()
    pairs = (line.rsplit(" AS ", 1) for line in lines if not line.startswith("--"))
    return {name: expression for expression, name in pairs}
