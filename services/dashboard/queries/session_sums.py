"""Queries for the sums of each session in a period."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.dashboard.page_params import View
from services.dashboard.queries import joint_source, runner, source_sql
from services.dashboard.queries.joint_source import SummedDays
from services.dashboard.queries.runner import Query, QueryResult
from shared import clickhouse

_THREADS = 2  # there may be hundreds of thousands of sessions
_LISTED = "{row}.session IN {{sessions:Array(String)}}"


def query(view: View, days: SummedDays | None, *, ordered: str, limit: int, offset: int) -> Query:
    """Query a page of sessions, the largest by `ordered` first, and the totals of all."""
    place = {"measure": ordered, "limit": limit, "offset": offset}
    return _query("dashboard_sessions", view, days, joint_source.HAS_SESSION, place)


def names(view: View, days: SummedDays | None, rows: Sequence[Mapping[str, Any]]) -> Query:
    """Query requesters, clients and models of the sessions of a page; see `named`."""
    sessions = list(dict.fromkeys(row["session"] for row in rows))
    return _query("dashboard_session_names", view, days, _LISTED, {"sessions": sessions})


def named(page: QueryResult, found: QueryResult) -> QueryResult:
    """Return the sessions of a page with their names."""
    if found.failure:
        return found
    by_session = {(row["account"], row["session"]): row for row in found.rows}
    nothing: dict[str, Any] = {"requesters": [], "clients": [], "models": []}  # erased in between
    return QueryResult([row | by_session.get((row["account"], row["session"]), nothing) for row in page.rows])


def _query(name: str, view: View, days: SummedDays | None, only: str, more: dict[str, Any]) -> Query:
    sql = clickhouse.text(name)
    lines = {view.since, view.until}
    view = source_sql.within(view, lines)
    source = joint_source.of_sessions(view, days, source_sql.columns_used(sql), only=only)
    parameters = view.parameters() | source_sql.parameters(view, lines=lines, first=view.since)
    parameters |= joint_source.parameters(days, lines=lines) | more
    text = runner.stripped(sql.replace("metrion.{source:Identifier}", source))
    return Query(name, parameters, {"max_threads": _THREADS}, text=text)
