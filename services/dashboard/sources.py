"""A view and the columns that a question names go in; the smallest part of the books that has them comes out, as SQL.

What is settled comes from the rollup; quarters of an hour that are `touched`, for requests have come since its last
pass, come from the requests. Nothing stands there that the question does not need: of the schema's views, which look
for what is touched and tell everything, ClickHouse spends more time on understanding them than on the answer.
"""

import functools
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from services.dashboard.periods import Period
from services.dashboard.view import View
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
_COMPLETE = "e.outcome = 'complete' AND e.status < 400 AND e.cache != 'HIT'"
_FAULTY = """(e.outcome NOT IN ('complete', 'client_closed')
OR e.outcome = 'complete' AND (e.status >= 400 OR e.error_type != '') OR e.cost IS NULL)"""
_IS_TOUCHED = """toStartOfHour(e.started_at) IN {touched_hours:Array(DateTime('UTC'))}
AND has({touched:Array(DateTime('UTC'))}, toStartOfFifteenMinutes(toDateTime(e.started_at, 'UTC')))
AND e.started_at >= arrayMin({touched:Array(DateTime('UTC'))})"""
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


def used(question: str, *more: str) -> list[str]:
    """The columns of its source, `u`, that a question names; `more`: those that it is told to name."""
    return list(dict.fromkeys((*_USED.findall(clickhouse.text(question)), *more)))


def totals(shown: View, columns: Collection[str], *by: str) -> str:
    """Sums by what the question groups `by`, apart from requesters."""
    needed = {*shown.filters, *by} - {"account"}
    dims = next((dims for dims, names in _DIMS.items() if needed <= names), "")
    if shown.touched is None or not dims:
        return by_quarters(shown, columns)
    return _union(_narrow("usage_sums", columns, f"q.dims = '{dims}'"), _fresh(columns))


def requesters(shown: View, columns: Collection[str], *_by: str) -> str:
    """Sums by requester."""
    if shown.touched is None or not set(shown.filters) <= {"requester"}:
        return by_quarters(shown, columns)
    return _union(_narrow("usage_requester_sums", columns), _fresh(columns))


def latency(shown: View, columns: Collection[str], *by: str) -> str:
    """States of the latency of complete answers, by what the question groups `by`."""
    if shown.touched is None or not set(shown.filters) <= {"provider", "model"}:
        return by_quarters(shown, columns)
    whole = int(not {"provider", "model"} & {*shown.filters, *by})
    return _union(_narrow("usage_latency_states", columns, f"q.whole = {whole}"), _fresh(columns))


def faults(shown: View, columns: Collection[str], *_by: str) -> str:
    """Requests that failed or have no known cost."""
    if "meta" in shown.filters:
        return _union(_requests(columns, f"WHERE {_HAS_METADATA} AND {_FAULTY}"))
    if shown.touched is None:
        return "metrion.usage_faults"
    settled = _select(
        {name: f"q.{name}" for name in columns},
        f"metrion.usage_faults_15m AS q FINAL PREWHERE {_NOT_TOUCHED} WHERE q.requests > 0",
    )
    return _union(settled, _requests(columns, f"PREWHERE {_IS_TOUCHED} WHERE {_FAULTY}"))


def by_quarters(shown: View, columns: Collection[str], *_by: str) -> str:
    """Whatever is told apart, never by more than a quarter of an hour at once."""
    if "meta" in shown.filters:  # which no sum keeps
        return _union(_requests(columns, f"WHERE {_HAS_METADATA}"))
    view = "usage" if "requester" in {*columns, *shown.filters} else "usage_totals"
    if shown.touched is None:
        return _union(_quarters(columns, f"metrion.{view} AS q"))
    settled = _quarters(columns, f"metrion.{view}_15m AS q FINAL PREWHERE {_NOT_TOUCHED} WHERE q.requests > 0")
    return _union(settled, _fresh(columns))


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


def _narrow(table: str, columns: Collection[str], condition: str = "true") -> str:
    constant = {name: value for name, value in _ANY.items() if name not in _KEYS[table]}
    return _select(
        {name: constant.get(name, f"q.{name}") for name in columns},
        f"metrion.{table} AS q FINAL PREWHERE {condition} AND {_SPANS}",
    )


def _quarters(columns: Collection[str], rest: str) -> str:
    own = _columns("of_quarters")
    return _select({name: own[name] for name in columns}, rest)


def _fresh(columns: Collection[str]) -> str:
    return _requests(columns, f"PREWHERE {_IS_TOUCHED}")


def _requests(columns: Collection[str], condition: str) -> str:
    """One row a request; of states of latency one a key."""
    own = _columns("of_requests") | _STATES
    rest = f"metrion.response_events AS e FINAL {condition}"
    if set(columns) & set(_STATES):
        keys = ", ".join(own[name] for name in columns if name not in _STATES)
        rest += f" {'AND' if 'WHERE ' in condition.replace('PREWHERE ', '') else 'WHERE'} {_COMPLETE} GROUP BY {keys}"
    return _select({name: own[name] for name in columns}, rest)


def _select(columns: dict[str, str], rest: str) -> str:
    named = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    return f"SELECT {named}\nFROM {rest}\nSETTINGS do_not_merge_across_partitions_select_final = 1"


def _union(*selects: str) -> str:
    return "(\n" + "\nUNION ALL\n".join(selects) + "\n)"


@functools.cache
def _columns(part: str) -> dict[str, str]:
    """Column → how shared/queries/parts makes it."""
    lines = (clickhouse.QUERIES / "parts" / f"{part}.sql").read_text().splitlines()
    pairs = (line.rsplit(" AS ", 1) for line in lines if not line.startswith("--"))
    return {name: expression for expression, name in pairs}
