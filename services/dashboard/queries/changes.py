"""Queries of what changed the cost from the previous period."""

from collections.abc import Mapping

import msgspec

from services.dashboard.cost_change import Use
from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries import joint_source, runner, source_sql
from services.dashboard.queries.joint_source import SummedDays
from services.dashboard.queries.runner import Query, QueryResult
from shared import clickhouse

LISTED = 20
_SECONDS = 20.0
_THREADS = 2

Models = Mapping[str, Use]  # by provider and model


class Spans(msgspec.Struct, frozen=True):
    """The part of a period that has passed, and as much of the previous one."""

    now: Period
    before: Period


def spans(view: View) -> Spans:
    """Return what is compared: with the previous period, if with nothing else."""
    compared = view if view.compare != "none" else msgspec.structs.replace(view, compare="previous")
    now = view.period.passed()
    before = compared.earlier(now)
    assert before is not None
    return Spans(now, before)


def compared(view: View, days: SummedDays | None, *, limit: int = LISTED) -> Query:
    """Query cost, requests and tokens in both periods.

    As the panels `movers`, the largest changes by requester and model, and `by_model`; see `uses`.
    """
    periods = spans(view)
    edges = {"before_since": periods.before.since, "before_until": periods.before.until}
    lines = {view.since, view.until, *edges.values()}
    view = source_sql.within(view, lines)
    sql = clickhouse.text("dashboard_changes")
    by = ("requester", "provider", "model", "priced")
    source = joint_source.source(view, days, source_sql.columns_used(sql), *by)
    parameters = view.parameters() | edges | {"limit": limit}
    parameters |= source_sql.parameters(view, lines=lines, first=periods.before.since)
    parameters |= joint_source.parameters(days, lines=lines)
    text = runner.stripped(sql.replace("metrion.{source:Identifier}", source))
    settings = {"max_execution_time": _SECONDS, "max_threads": _THREADS}
    return Query("dashboard_changes", parameters, settings, text=text, panels=("movers", "by_model"))


def uses(result: QueryResult) -> tuple[Models, Models]:
    """Return the use of each model in the period before and in this one."""
    before: dict[str, Use] = {}
    now: dict[str, Use] = {}
    for row in result.rows:
        name = f"{row['provider']}/{row['model']}"
        if row["requests_before"]:
            priced = row["requests_before"] - row["unpriced_before"]
            before[name] = Use(priced, row["tokens_before"], row["cost_before"])
        if row["requests_now"]:
            now[name] = Use(row["requests_now"] - row["unpriced"], row["tokens_now"], row["cost_now"])
    return before, now


def unpriced(result: QueryResult) -> int:
    """Return the number of requests with unknown cost in both periods."""
    return sum(row["unpriced"] + row["unpriced_before"] for row in result.rows)
