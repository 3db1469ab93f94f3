"""Queries of what changed the cost from the previous period."""

from collections.abc import Mapping
from typing import Any

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


def movers(view: View, days: SummedDays | None, *, limit: int = LISTED) -> Query:
    """Query the largest changes of cost by requester and model."""
    return _query(view, days, "dashboard_movers", ("requester", "provider", "model"), limit=limit)


def by_model(view: View, days: SummedDays | None) -> Query:
    """Query requests, tokens and cost of each model in both periods; see `uses`."""
    return _query(view, days, "dashboard_model_change", ("provider", "model", "priced"))


def uses(result: QueryResult) -> tuple[Models, Models]:
    """Return the use of each model in the period before and in this one."""
    before: dict[str, Use] = {}
    now: dict[str, Use] = {}
    for row in result.rows:
        use = Use(row["requests"], row["tokens"], row["cost"])
        (now if row["present"] else before)[f"{row['provider']}/{row['model']}"] = use
    return before, now


def _query(view: View, days: SummedDays | None, name: str, by: tuple[str, ...], **more: Any) -> Query:
    compared = spans(view)
    edges = {"before_since": compared.before.since, "before_until": compared.before.until}
    lines = {view.since, view.until, *edges.values()}
    view = source_sql.within(view, lines)
    sql = clickhouse.text(name)
    source = joint_source.source(view, days, source_sql.columns_used(sql), *by)
    parameters = view.parameters() | edges | more
    parameters |= source_sql.parameters(view, lines=lines, first=compared.before.since)
    parameters |= joint_source.parameters(days, lines=lines)
    text = runner.stripped(sql.replace("metrion.{source:Identifier}", source))
    return Query(name, parameters, {"max_execution_time": _SECONDS, "max_threads": _THREADS}, text=text)
