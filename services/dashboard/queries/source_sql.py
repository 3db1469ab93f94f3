"""The smallest part of the rollup that has the columns of a query, as SQL.

What is settled comes from the rollup; quarters of an hour that are `touched`, for requests have come since its last
pass, come from the requests. Each part is read as the view's filters leave it. Nothing stands there that the question
does not need: of the schema's views, which look for what is touched and tell everything, ClickHouse spends more time
on understanding them than on the answer.
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
_KEYS = {  # what each table of narrow sums tells apart
    "usage_sums": {"account", "bucket", "provider", "model", "token", "status", "outcome"},
    "usage_requester_sums": {"account", "bucket", "requester"},
    "usage_latency_states": {"account", "bucket", "provider", "model"},
}
# What they do not: no filter on it is set where they are asked, but questions name it.
_ANY = {
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
_FAULTY = "(e.is_error OR e.cost IS NULL)"
_IS_TOUCHED = """toStartOfHour(e.started_at) IN {touched_hours:Array(DateTime('UTC'))}
AND has({touched:Array(DateTime('UTC'))}, toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC')))
AND e.started_at >= arrayMin({touched:Array(DateTime('UTC'))})"""
_FILTERS = {  # what one leaves, told by a part's own columns; metadata only requests have, see _HAS_METADATA
    "account": "{account} = {{account:String}}",
    "provider": "{provider} = {{provider:String}}",
    "model": "{model} = {{model:String}}",
    "requester": "{requester} = {{requester:String}}",
    "token": "{token} = {{token:String}}",
    "status": "{status} BETWEEN {{status_from:UInt16}} AND {{status_to:UInt16}}",
    "cache": "({hits} > 0) = ({{cache:String}} = 'yes')",
    "cost": "if({{cost:String}} = 'unknown', NOT {priced}, {estimated} > 0)",
}
_HAS_METADATA = """e.started_at >= {first:DateTime64(6, 'UTC')} AND e.started_at < {until:DateTime64(6, 'UTC')}
AND mapContains(e.metadata, {meta_key:String}) AND e.metadata[{meta_key:String}] = {meta_value:String}"""
_NOT_TOUCHED = "NOT has({touched:Array(DateTime('UTC'))}, q.bucket)"
# Narrow sums of the widest spans in which neither a line of the question nor a touched quarter lies.
_SPANS = """(q.span = 86400 AND NOT has({cut_days:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 14400 AND toStartOfDay(q.bucket) IN {cut_days:Array(DateTime('UTC'))}
    AND NOT has({cut_fours:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 3600 AND toStartOfInterval(q.bucket, INTERVAL 4 HOUR) IN {cut_fours:Array(DateTime('UTC'))}
    AND NOT has({cut_hours:Array(DateTime('UTC'))}, q.bucket)
OR q.span = 900 AND toStartOfHour(q.bucket) IN {cut_hours:Array(DateTime('UTC'))}
    AND NOT has({touched:Array(DateTime('UTC'))}, q.bucket))"""
_USED = re.compile(r"\bu\.(\w+)")


def columns_used(sql: str, *more: str) -> list[str]:
    """The columns of its source, `u`, that a question names; `more`: those that it is told to name."""
    return list(dict.fromkeys((*_USED.findall(sql), *more)))


def totals(shown: View, columns: Collection[str], *by: str) -> str:
    """Sums by what the question groups `by`, apart from requesters."""
    needed = {*shown.filters, *by} - {"account"}
    dims = next((dims for dims, names in _DIMS.items() if needed <= names), "")
    if shown.touched is None or not dims:
        return by_quarters(shown, columns)
    return _union(_narrow(shown, "usage_sums", columns, f"q.dims = '{dims}'"), _fresh(shown, columns))


def requesters(shown: View, columns: Collection[str], *_by: str) -> str:
    """Sums by requester."""
    if shown.touched is None or not set(shown.filters) <= {"requester"}:
        return by_quarters(shown, columns)
    return _union(_narrow(shown, "usage_requester_sums", columns), _fresh(shown, columns))


def latency(shown: View, columns: Collection[str], *by: str) -> str:
    """States of the latency of successful, uncached responses, by what the question groups `by`."""
    if shown.touched is None or not set(shown.filters) <= {"provider", "model"}:
        return by_quarters(shown, columns)
    whole = int(not {"provider", "model"} & {*shown.filters, *by})
    return _union(_narrow(shown, "usage_latency_states", columns, f"q.whole = {whole}"), _fresh(shown, columns))


def faults(shown: View, columns: Collection[str], *_by: str) -> str:
    """Requests that failed or have no known cost."""
    if "meta" in shown.filters:
        return _union(_requests(shown, columns, where=f"{_HAS_METADATA} AND {_FAULTY}"))
    own = {name: f"q.{name}" for name in (*_columns("of_quarters"), *columns)}
    if shown.touched is None:
        return _union(_select(columns, own, f"metrion.usage_faults AS q WHERE {_left(shown, own)}"))
    rest = f"metrion.usage_faults_15m AS q FINAL PREWHERE {_left(shown, own)} AND {_NOT_TOUCHED} WHERE q.requests > 0"
    return _union(_select(columns, own, rest), _fresh(shown, columns, where=_FAULTY))


def by_quarters(shown: View, columns: Collection[str], *_by: str) -> str:
    """Whatever is told apart, never by more than a quarter of an hour at once."""
    if "meta" in shown.filters:  # which no sum keeps
        return _union(_requests(shown, columns, where=_HAS_METADATA))
    view = "usage" if "requester" in {*columns, *shown.filters} else "usage_totals"
    own = _columns("of_quarters")
    left = _left(shown, own)
    if set(columns) & set(_STATES):  # an older release kept states of all that ended
        left += " AND q.answered > 0"
    if shown.touched is None:
        return _union(_select(columns, own, f"metrion.{view} AS q WHERE {left}"))
    rest = f"metrion.{view}_15m AS q FINAL PREWHERE {left} AND {_NOT_TOUCHED} WHERE q.requests > 0"
    return _union(_select(columns, own, rest), _fresh(shown, columns))


def parameters(
    shown: View, *, lines: Iterable[datetime], whole: Iterable[datetime] = (), first: datetime
) -> dict[str, Any]:
    """What sources name: touched quarters, the wider spans that are not taken whole, from when on requests are read.

    Spans are cut by the `lines` that a question draws; days, and nothing narrower, by those that may be rough, `whole`.
    """
    touched = shown.touched or []
    cut = {*lines, *(quarter + _QUARTER / 2 for quarter in touched)}
    return {
        "touched": touched,
        "touched_hours": sorted({at.replace(minute=0) for at in touched}),
        "cut_days": _cut({*cut, *whole}, timedelta(days=1)),
        "cut_fours": _cut(cut, timedelta(hours=4)),
        "cut_hours": _cut(cut, timedelta(hours=1)),
        "first": first,
    }


def lines(periods: Iterable[Period]) -> set[datetime]:
    """The edges of their buckets."""
    return {at for period in periods for at in (*period.buckets(), period.until)}


def _cut(moments: Iterable[datetime], span: timedelta) -> list[datetime]:
    """The starts of the spans within which these moments lie."""
    return sorted({at - (at - _EPOCH) % span for at in moments if (at - _EPOCH) % span})


def _left(shown: View, own: Mapping[str, str]) -> str:
    """What the filters that are set leave of a part of the books, whose columns are `own`."""
    chosen = {*shown.filters, *(["account"] if shown.account else [])}
    left = [condition.format_map(own) for name, condition in _FILTERS.items() if name in chosen]
    return " AND ".join(left) or "true"


def _narrow(shown: View, table: str, columns: Collection[str], condition: str = "true") -> str:
    own = _columns("of_quarters") | {name: f"q.{name}" for name in columns}
    constant = {name: value for name, value in _ANY.items() if name not in _KEYS[table]}
    rest = f"metrion.{table} AS q FINAL PREWHERE {condition} AND {_left(shown, own)} AND {_SPANS}"
    return _select(columns, own | constant, rest)


def _fresh(shown: View, columns: Collection[str], *, where: str = "true") -> str:
    return _requests(shown, columns, first=_IS_TOUCHED, where=where)


def _requests(shown: View, columns: Collection[str], *, first: str = "true", where: str) -> str:
    """One row a request; of states of latency one a key. `first`: what all versions of a request have in common."""
    own = _columns("of_requests") | _STATES
    rest = f"metrion.response_events AS e FINAL PREWHERE {first} WHERE {_left(shown, own)} AND {where}"
    if set(columns) & set(_STATES):
        keys = ", ".join(own[name] for name in columns if name not in _STATES)
        rest += f" AND e.is_answered GROUP BY {keys}"
    return _select(columns, own, rest)


def _select(columns: Collection[str], own: Mapping[str, str], rest: str) -> str:
    named = ", ".join(f"{own[name]} AS {name}" for name in columns)
    return f"SELECT {named}\nFROM {rest}\nSETTINGS do_not_merge_across_partitions_select_final = 1"


def _union(*selects: str) -> str:
    return "(\n" + "\nUNION ALL\n".join(selects) + "\n)"


@functools.cache
def _columns(part: str) -> dict[str, str]:
    """Column → how shared/queries/parts makes it."""
    lines = (clickhouse.QUERIES / "parts" / f"{part}.sql").read_text().splitlines()
    pairs = (line.rsplit(" AS ", 1) for line in lines if not line.startswith("--"))
    return {name: expression for expression, name in pairs}
