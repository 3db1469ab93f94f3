"""Queries of the panels, each on the smallest part of the rollup that has it."""

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries import measures, runner, source_sql
from services.dashboard.queries.measures import MEASURES
from services.dashboard.queries.runner import Query, QueryResult
from shared import clickhouse

Source = Callable[..., str]  # of a view, the columns that the question names, and by what it groups
LISTED = 8  # rows of a short list; series beyond are Other
PAGE = 50  # rows of a long one
COST = ("cost", "unpriced", "estimated")  # the measures that a cost is shown with
_ALL = 1000
_ENDS = (
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


def error_kinds(shown: View) -> Query:
    """Errors by provider, status and what they are."""
    return _ask(shown, "dashboard_error_kinds", source_sql.faults, limit=PAGE)


def unpriced(shown: View) -> Query:
    """Requests of unknown cost by model and reason."""
    return _ask(shown, "dashboard_unpriced", source_sql.faults, limit=PAGE)


def series_by(shown: View, by: str, measure: str) -> Query:
    """One measure by bucket and name: requests, errors, cost."""
    source = source_sql.requesters if by == "requester" else source_sql.totals
    return _ask(shown, "dashboard_series_by", source, [measure], [shown.period], by=by, measure=measure)


def histogram(shown: View) -> Query:
    """How many ended how, by bucket and in all."""
    return _ask(shown, "dashboard_logs_histogram", source_sql.totals, _ENDS, [shown.period])


def table(
    shown: View, by: str, measure: str, *names: str, beside: str = "", limit: int = _ALL, order: str = ""
) -> Query:
    """Requests and the measures of these names by one column and another `beside` it (a model's provider).

    Only of whatever has any of `measure`.
    """
    more: dict[str, Any] = {"measure": measure, "ordered": order or measure, "limit": limit}
    wanted = {"requests", measure, order or measure, *names}
    return _ask(shown, "dashboard_by", source_sql.totals, wanted, by=by, beside=beside or by, **more)


def models(shown: View) -> Query:
    """What models cost, the dearest first."""
    names = ("input_tokens", "output_tokens", "saved", *COST)
    return table(shown, "model", "requests", *names, beside="provider", limit=PAGE, order="cost")


def providers(shown: View) -> Query:
    """What providers cost, the dearest first."""
    return table(shown, "provider", "requests", *COST, order="cost")


def tokens(shown: View) -> Query:
    """What the bearers of Metrion's tokens cost, the dearest first."""
    return table(shown, "token", "requests", *COST, beside="account", limit=PAGE, order="cost")


def classes(shown: View) -> Query:
    """Cost by class."""
    return _ask(shown, "dashboard_classes", source_sql.totals, ["cost_by_class"])


def percentiles_by(shown: View, by: str, *, beside: str = "") -> Query:
    """Percentiles of latency by one column and another beside it: provider, model."""
    names = ("latency", "first_byte")
    return _ask(shown, "dashboard_latency_by", source_sql.latency, names, by=by, beside=beside or by)


def sums(shown: View, *names: str) -> Query:
    """Requests and the measures of these names, in all and by bucket, beside the period before: see `Compared`."""
    return _compared(shown, "dashboard_sums", source_sql.totals, ("requests", *names))


def percentiles(shown: View, *names: str) -> Query:
    """The same for percentiles of latency, and with `first_byte` of how long that took."""
    return _compared(shown, "dashboard_latency", source_sql.latency, ("latency", *names))


def callers(shown: View) -> Query:
    """The same for how many requesters there were; a day of theirs has whole spans, those that begin in it."""
    names = ("requests", "requesters")
    return _compared(shown, "dashboard_callers", source_sql.requesters, names, exact=not shown.period.daily)


class Compared(msgspec.Struct, frozen=True):
    """Measures of a period in all and by bucket, beside those of the period before."""

    totals: Mapping[str, Mapping[str, Any]]  # of the `period`, of what `passed` of it, of as much of the one `before`
    series: Mapping[str, list[dict[str, Any]]]  # by bucket, of the `period` and of the one `before`
    failure: str = ""

    def total(self, part: str = "period") -> Mapping[str, Any] | None:
        """The measures of a part in all; None where it has no requests or they are not known."""
        return self.totals.get(part)

    def buckets(self, part: str = "period") -> QueryResult:
        """The measures of a part by bucket."""
        return QueryResult(self.series.get(part, []), self.failure)


def compared(asked: QueryResult) -> Compared:
    """The rows of `sums`, `percentiles` or `callers`, told apart."""
    series: dict[str, list[dict[str, Any]]] = {}
    for row in asked.rows:
        if not row["whole"]:
            series.setdefault(row["part"], []).append(row)
    return Compared({row["part"]: row for row in asked.rows if row["whole"]}, series, asked.failure)


def _compared(shown: View, name: str, source: Source, names: Collection[str], *, exact: bool = True) -> Query:
    """`exact`: each bucket is, not only what there is in all."""
    passed = shown.period.complete()
    nothing = msgspec.structs.replace(passed, until=passed.since)
    before, part = shown.earlier(shown.period) or nothing, shown.earlier(passed) or nothing
    edges: dict[str, Any] = {"cut": passed.until, "before_since": before.since, "before_until": before.until}
    edges["before_cut"] = part.until
    periods = [shown.period, before]
    return _ask(shown, name, source, names, periods, file="dashboard_compared", exact=exact, **edges)


def requesters(shown: View, *names: str, measure: str, limit: int, offset: int = 0) -> Query:
    """Requests, cost and its trend, and the measures of these names, by requester, against the period before.

    A day of the trend is as in `callers`.
    """
    passed = shown.period.complete()
    before = shown.earlier(passed) or msgspec.structs.replace(passed, until=passed.since)
    edges: dict[str, Any] = {"cut": passed.until, "before_since": before.since, "before_until": before.until}
    more: dict[str, Any] = {"measure": measure, "limit": limit, "offset": offset}
    wanted = {"requests", "cost", *names, *({measure} & set(MEASURES))}
    exact = not shown.period.daily
    return _ask(
        shown, "dashboard_requesters", source_sql.requesters, wanted, [shown.period], exact=exact, **edges, **more
    )


def requester_models(shown: View, names: Collection[str]) -> Query:
    """The models of some requesters."""
    return _ask(shown, "dashboard_requester_models", source_sql.requesters, ["models"], names=list(names))


def summed(shown: View) -> bool:
    """Whether sums keep apart whatever the view's filters name: all but metadata."""
    return "meta" not in shown.filters


def hours(shown: View, measure: str, *, since: str, until: str, up: bool, limit: int) -> Query:
    """The hours that have any requests or errors, from one end on; `since` and `until` as walk.stamp has them."""
    bounds: dict[str, Any] = {"since": since, "until": until, "ascending": int(up)}
    return _ask(
        shown, "dashboard_logs_hours", source_sql.by_quarters, [measure], measure=measure, limit=limit, **bounds
    )


def options(shown: View) -> Query:
    """Names for the filter bar."""
    return Query("dashboard_options", shown.parameters())


def _ask(
    shown: View,
    name: str,
    source: Source,
    wanted: Collection[str] = (),
    slots: Collection[Period] = (),
    *,
    file: str = "",
    exact: bool = True,
    **more: Any,
) -> Query:
    """A query of shared/queries with the measures `wanted`; `file` where it is not called `name`.

    `slots`: the periods by whose buckets it sums up, `exact` or by the spans that begin in each.
    """
    figures = measures.chosen(wanted)
    sql = _built(file or name, tuple(measure.name for measure in figures))
    edges = [more[edge] for edge in ("cut", "before_since", "before_until", "before_cut") if edge in more]
    by = [more[one] for one in ("by", "beside") if one in more]
    columns = source_sql.columns_used(clickhouse.text(file or name), *measures.columns(figures), *by)
    ends, buckets = {shown.since, shown.until, *edges}, source_sql.lines(slots)
    told = source_sql.parameters(
        shown,
        lines=ends | buckets if exact else ends,
        whole=() if exact else buckets,
        first=min(ends),
    )
    parameters = shown.parameters() | told | more
    text = sql.replace("metrion.{source:Identifier}", source(shown, columns, *by))
    return Query(name, parameters, text=text)


@functools.cache
def _built(file: str, names: tuple[str, ...]) -> str:
    """The query of a file with the measures of these names, short enough for the driver."""
    return runner.stripped(measures.query(file, measures.chosen(names)))
