"""Queries of the panels, each over the smallest table of the rollup that suffices."""

import functools
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries import measures, runner, source_sql
from services.dashboard.queries.measures import MEASURES
from services.dashboard.queries.runner import Query, QueryResult
from shared import clickhouse
from shared.recent import DAY

Source = Callable[..., str]  # of source_sql: view, columns, columns to group by
LISTED = 8  # rows of a short list; further series are Other
PAGE = 50  # rows of a long list
SUGGESTED = 20  # names to pick from
COST = ("cost", "unpriced", "estimated")  # measures shown with a cost
OF_MODELS = ("input_tokens", "output_tokens", "saved", *COST)
_UNLIMITED = 1000
_THREADS_OF_SERIES = 2  # of percentiles by name over time: the page waits longest for these
_HISTOGRAM_MEASURES = (
    "requests",
    "hits",
    "ok",
    "broken",
    "refused",
    "failed",
    "interrupted",
    "input_tokens",
    "output_tokens",
    "cost",
    "unpriced",
)


def error_types(view: View) -> Query:
    """Query errors by provider, status and type."""
    return _query(view, "dashboard_error_kinds", source_sql.faults, limit=_UNLIMITED)


def limit_refusals(view: View) -> Query:
    """Query what limits and budgets refused, by account, token, requester and model."""
    return _query(view, "dashboard_limit_refusals", source_sql.faults, limit=PAGE)


def equivalent(view: View) -> Query:
    """Query what requests of subscriptions would have cost at API prices."""
    return Query("dashboard_equivalent", view.parameters())


def unpriced(view: View) -> Query:
    """Query requests with unknown cost, by model and reason."""
    return _query(view, "dashboard_unpriced", source_sql.faults, limit=_UNLIMITED)


def series_by(view: View, by: str, measure: str) -> Query:
    """Query one measure by bucket and name."""
    source = source_sql.requesters if by == "requester" else source_sql.totals
    return _query(view, "dashboard_series_by", source, [measure], [view.period], by=by, measure=measure)


def histogram(view: View) -> Query:
    """Query requests by outcome, by bucket and in total."""
    return _query(view, "dashboard_logs_histogram", source_sql.totals, _HISTOGRAM_MEASURES, [view.period])


def table(
    view: View, by: str, measure: str, *names: str, beside: str = "", limit: int = _UNLIMITED, order: str = ""
) -> Query:
    """Query measures by a column and another one `beside` it (a model's provider).

    Rows with 0 of `measure` are left out.
    """
    more: dict[str, Any] = {"measure": measure, "ordered": order or measure, "limit": limit}
    wanted = {"requests", measure, order or measure, *names}
    return _query(view, "dashboard_by", source_sql.totals, wanted, by=by, beside=beside or by, **more)


def daily_cost(view: View, *, history: int) -> Query | None:
    """Query the cost of each day, from `history` days before the period on.

    None for periods that are not shown by days, and filters that would read the requests of all that time.
    """
    if view.step != DAY or view.period.days == 0:
        return None
    source = source_sql.requesters if view.conditions == {"requester"} else source_sql.totals
    if source is source_sql.totals and not any(view.conditions <= dims for dims in source_sql.DIMS.values()):
        return None
    moved = view.period.moved(timedelta(days=-history), on_clock=True)
    longer = msgspec.structs.replace(view, period=msgspec.structs.replace(view.period, since=moved.since))
    return _query(longer, "dashboard_daily_cost", source, ["cost"], [longer.period])


def annotations(view: View) -> Query:
    """Query what was done to recorded costs in the period."""
    return Query("dashboard_annotations", view.parameters())


def models(view: View) -> Query:
    """Query cost by model, highest first."""
    return table(view, "model", "requests", *OF_MODELS, beside="provider", order="cost")


def models_and_providers(view: View, measure: str, *names: str, order: str = "") -> Query:
    """Query measures by model and by provider, as the panels `models` and `providers`.

    Rows with 0 of `measure` are left out.
    """
    order = order or measure
    more: dict[str, Any] = {"measure": measure, "ordered": order, "limit": _UNLIMITED}
    wanted = {"requests", measure, order, *names}
    query = _query(view, "dashboard_models", source_sql.totals, wanted, by="model", beside="provider", **more)
    return query._replace(panels=("models", "providers"))


def tokens(view: View) -> Query:
    """Query cost by API token, highest first."""
    return table(view, "token", "requests", *COST, beside="account", order="cost")


def classes(view: View) -> Query:
    """Query cost by type: input, output, cache, …"""
    return _query(view, "dashboard_classes", source_sql.totals, ["cost_by_class"])


def percentiles_by(view: View, by: str, *, beside: str = "") -> Query:
    """Query latency percentiles by a column and another one `beside` it."""
    names = ("latency", "first_byte")
    return _query(view, "dashboard_latency_by", source_sql.latency, names, by=by, beside=beside or by)


def percentiles_of_models(view: View) -> Query:
    """Query latency percentiles by model and by provider.

    As the panels `models_percentiles` and `providers_percentiles`.
    """
    names = ("latency", "first_byte")
    query = _query(view, "dashboard_latency_models", source_sql.latency, names, by="model", beside="provider")
    return query._replace(panels=("models_percentiles", "providers_percentiles"))


def percentiles_over_time(view: View, by: str) -> Query:
    """Query p95 by bucket of the eight largest names of a column, as `key`."""
    query = _query(
        view, "dashboard_latency_series", source_sql.latency, ["answered", "latency_p95"], [view.period], by=by
    )
    return query._replace(settings={"max_threads": _THREADS_OF_SERIES})


def sums(view: View, *names: str) -> Query:
    """Query measures of this and the previous period, as in `Compared`."""
    return _compared(view, "dashboard_sums", source_sql.totals, ("requests", *names), file="dashboard_compared")


def percentiles(view: View, *names: str) -> Query:
    """Query latency percentiles likewise; "first_byte" adds those of TTFB."""
    return _compared(view, "dashboard_latency", source_sql.latency, ("latency", *names), file="dashboard_compared")


class Compared(msgspec.Struct, frozen=True):
    """Measures of a period and of the previous one, in total and by bucket."""

    totals: Mapping[str, Mapping[str, Any]]  # of `period` as far as it has come, and of as much of the one `before`
    series: Mapping[str, list[dict[str, Any]]]  # by bucket, of `period` and `before`
    failure: str = ""

    def total(self, part: str = "period") -> Mapping[str, Any] | None:
        """Return the totals of a part; None without requests or on failure."""
        return self.totals.get(part)

    def buckets(self, part: str = "period") -> QueryResult:
        """Return the measures of a part by bucket."""
        return QueryResult(self.series.get(part, []), self.failure)


def compared(result: QueryResult) -> Compared:
    """Split the rows of `sums`, `percentiles` or `callers` by part."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in result.rows:
        if not row["whole"]:
            series.setdefault(row["part"], []).append(row)
    return Compared({row["part"]: row for row in result.rows if row["whole"]}, series, result.failure)


def _compared(
    view: View, name: str, source: Source, names: Collection[str], *, file: str = "", exact: bool = True, **more: Any
) -> Query:
    """Build a comparing query. `exact`: buckets are exact, not only totals."""
    passed = view.period.passed()
    nothing = msgspec.structs.replace(passed, until=passed.since)
    before = view.earlier(view.period) or nothing
    part = view.earlier(passed) or nothing
    edges = {"before_since": before.since, "before_until": before.until, "before_cut": part.until}
    periods = [view.period, before]
    return _query(view, name, source, names, periods, file=file, exact=exact, **edges, **more)


def requesters(view: View, *names: str, measure: str, limit: int, offset: int = 0, search: str = "") -> Query:
    """Query cost, its trend and other measures by requester, and their number.

    Both compared with the previous period, as the panels `requesters` and `callers`; the latter as in `Compared`. Days
    consist of whole spans. `search`: text that the names contain.
    """
    more: dict[str, Any] = {"measure": measure, "limit": limit, "offset": offset, "search": search}
    wanted = {"requests", "cost", *names, *({measure} & set(MEASURES))}
    exact = not view.period.daily
    query = _compared(view, "dashboard_requesters", source_sql.requesters, wanted, exact=exact, **more)
    return query._replace(panels=("requesters", "callers"))


def requester_names(view: View, search: str, *, limit: int = SUGGESTED) -> Query:
    """Query the requesters whose name contains a text, whatever other filters are set."""
    every = msgspec.structs.replace(view, filters={})
    return _query(every, "dashboard_requester_names", source_sql.requesters, search=search, limit=limit)


def requester_models(view: View, names: Collection[str]) -> Query:
    """Query the models of some requesters."""
    return _query(view, "dashboard_requester_models", source_sql.requesters, ["models"], names=list(names))


def hours(view: View, measure: str, *, since: str, until: str, up: bool, limit: int) -> Query:
    """Query the hours with any requests or errors, from one end of a span."""
    bounds: dict[str, Any] = {"since": since, "until": until, "ascending": int(up)}
    return _query(
        view, "dashboard_logs_hours", source_sql.by_quarters, [measure], measure=measure, limit=limit, **bounds
    )


def options(view: View) -> Query:
    """Query the names for the filter bar."""
    return Query("dashboard_options", view.parameters())


def _query(
    view: View,
    name: str,
    source: Source,
    wanted: Collection[str] = (),
    slots: Collection[Period] = (),
    *,
    file: str = "",
    exact: bool = True,
    **more: Any,
) -> Query:
    """Build a query of shared/queries with the measures `wanted`; `file` if not called `name`.

    `slots`: periods whose buckets it groups by, `exact` or by the spans that start in each.
    """
    figures = measures.chosen(wanted)
    sql = _built(file or name, tuple(measure.name for measure in figures))
    edges = [more[edge] for edge in ("before_since", "before_until", "before_cut") if edge in more]
    by = [more[one] for one in ("by", "beside") if one in more]
    columns = source_sql.columns_used(clickhouse.text(file or name), *measures.columns(figures), *by)
    ends = {view.since, view.until, *edges}
    view = source_sql.within(view, ends)
    buckets = source_sql.lines(slots)
    source_parameters = source_sql.parameters(
        view,
        lines=ends | buckets if exact else ends,
        whole=() if exact else buckets,
        first=min(ends),
    )
    parameters = view.parameters() | source_parameters | more
    text = sql.replace("metrion.{source:Identifier}", source(view, columns, *by))
    return Query(name, parameters, text=text)


@functools.cache
def _built(file: str, names: tuple[str, ...]) -> str:
    """Return the stripped SQL of a file with the measures of these names."""
    return runner.stripped(measures.query(file, measures.chosen(names)))
