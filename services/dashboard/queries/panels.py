"""A view goes in; the questions of its panels come out, each to the smallest part of the books that can answer it."""

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from services.dashboard.page_params import View
from services.dashboard.periods import Period
from services.dashboard.queries import runner, source_sql
from services.dashboard.queries.runner import Query, QueryResult

Source = Callable[..., str]  # of a view, the columns that the question names, and by what it groups
LISTED = 8  # rows of a short list; series beyond are Other
PAGE = 50  # rows of a long one
PARTED = {
    "sums": "",
    "callers": "callers_",
    "percentiles": "long_",
}  # as in `parts`: …totals, …series
COST = ("cost", "unpriced", "estimated")  # the figures that a cost is shown with
_ALL = 1000
_RESTS_ON = {  # figures that a panel may do without, and of the same question what only they rest on
    **dict.fromkeys(
        ("errors", "hits", "input_tokens", "output_tokens", "tokens", "saved", *COST, "estimated_cost"), ()
    ),
    "latency_mean": ("answered", "answered_ms"),
    "first_byte_mean": ("first_bytes", "first_byte_ms"),
    "first_byte": ("ttfb",),
}


def error_kinds(shown: View) -> Query:
    """Errors by provider, status and what they are."""
    return _ask(shown, "dashboard_error_kinds", source_sql.faults, limit=PAGE)


def unpriced(shown: View) -> Query:
    """Requests of unknown cost by model and reason."""
    return _ask(shown, "dashboard_unpriced", source_sql.faults, limit=PAGE)


def series_by(shown: View, by: str, measure: str) -> Query:
    """One measure by bucket and name: requests, errors, cost."""
    source = source_sql.requesters if by == "requester" else source_sql.totals
    return _ask(shown, "dashboard_series_by", source, [shown.period], columns=[measure], by=by, measure=measure)


def histogram(shown: View) -> Query:
    """How many ended how, by bucket and in all."""
    return _ask(shown, "dashboard_logs_histogram", source_sql.totals, [shown.period])


def table(
    shown: View, by: str, measure: str, *figures: str, beside: str = "", limit: int = _ALL, order: str = ""
) -> Query:
    """Requests, `figures` and measure by name and what stands `beside` it (a model's provider), of whatever has any."""
    more: dict[str, Any] = {"measure": measure, "ordered": order or measure, "limit": limit}
    wanted = {measure, order, *figures}
    return _ask(shown, "dashboard_by", source_sql.totals, figures=wanted, by=by, beside=beside or by, **more)


def models(shown: View) -> Query:
    """What models cost, the dearest first."""
    figures = ("input_tokens", "output_tokens", "saved", *COST)
    return table(shown, "model", "requests", *figures, beside="provider", limit=PAGE, order="cost")


def providers(shown: View) -> Query:
    """What providers cost, the dearest first."""
    return table(shown, "provider", "requests", *COST, order="cost")


def tokens(shown: View) -> Query:
    """What the bearers of Metrion's tokens cost, the dearest first."""
    return table(shown, "token", "requests", *COST, beside="account", limit=PAGE, order="cost")


def classes(shown: View) -> Query:
    """Cost by class."""
    return _ask(shown, "dashboard_classes", source_sql.totals)


def percentiles_by(shown: View, by: str, *, beside: str = "") -> Query:
    """Percentiles of latency by name and what stands beside it: provider, model."""
    return _ask(shown, "dashboard_latency_by", source_sql.latency, by=by, beside=beside or by)


def sums(shown: View, *figures: str) -> Query:
    """Requests and `figures` of the period, in all and by bucket, each with what it is compared with: see `parts`."""
    return _compared(shown, "dashboard_sums", source_sql.totals, figures=figures)


def percentiles(shown: View, *figures: str) -> Query:
    """The same for percentiles of latency, and with `first_byte` of how long that took."""
    return _compared(shown, "dashboard_latency", source_sql.latency, figures=figures)


def callers(shown: View) -> Query:
    """The same for how many requesters there were; a day of theirs has whole spans, those that begin in it."""
    return _compared(shown, "dashboard_callers", source_sql.requesters, exact=not shown.period.daily)


def parts(asked: QueryResult) -> tuple[QueryResult, QueryResult]:
    """Such an answer in all (`period`, `passed`, `before`) and by bucket (`period`, `before`)."""
    slots = [row for row in asked.rows if not row["whole"]]
    return asked._replace(rows=[row for row in asked.rows if row["whole"]]), asked._replace(rows=slots)


def _compared(shown: View, name: str, source: Source, *, exact: bool = True, figures: Collection[str] = ()) -> Query:
    """`exact`: each bucket is, not only what there is in all."""
    passed = shown.period.complete()
    nothing = msgspec.structs.replace(passed, until=passed.since)
    before, part = shown.earlier(shown.period) or nothing, shown.earlier(passed) or nothing
    edges: dict[str, Any] = {"cut": passed.until, "before_since": before.since, "before_until": before.until}
    edges["before_cut"] = part.until
    return _ask(shown, name, source, [shown.period, before], exact=exact, figures=figures, **edges)


def requesters(shown: View, *figures: str, measure: str, limit: int, offset: int = 0) -> Query:
    """Requests, `figures`, cost and its trend by requester, against the period before.

    A day of the trend is as in `callers`.
    """
    passed = shown.period.complete()
    before = shown.earlier(passed) or msgspec.structs.replace(passed, until=passed.since)
    edges: dict[str, Any] = {"cut": passed.until, "before_since": before.since, "before_until": before.until}
    more: dict[str, Any] = {"measure": measure, "limit": limit, "offset": offset}
    exact, wanted = not shown.period.daily, {"cost", measure, *figures}
    return _ask(
        shown,
        "dashboard_requesters",
        source_sql.requesters,
        [shown.period],
        exact=exact,
        figures=wanted,
        **edges,
        **more,
    )


def requester_models(shown: View, names: Collection[str]) -> Query:
    """The models of some requesters."""
    return _ask(shown, "dashboard_requester_models", source_sql.requesters, names=list(names))


def summed(shown: View) -> bool:
    """Whether sums keep apart whatever the view's filters name: all but metadata."""
    return "meta" not in shown.filters


def hours(shown: View, measure: str, *, since: str, until: str, up: bool, limit: int) -> Query:
    """The hours that have any requests or errors, from one end on; `since` and `until` as walk.stamp has them."""
    of: dict[str, Any] = {"since": since, "until": until, "ascending": int(up)}
    return _ask(
        shown, "dashboard_logs_hours", source_sql.by_quarters, columns=[measure], measure=measure, limit=limit, **of
    )


def options(shown: View) -> Query:
    """Names for the filter bar."""
    return Query("dashboard_options", shown.parameters())


def _ask(
    shown: View,
    name: str,
    source: Source,
    slots: Collection[Period] = (),
    *,
    exact: bool = True,
    columns: Collection[str] = (),
    figures: Collection[str] = tuple(_RESTS_ON),
    **more: Any,
) -> Query:
    """`slots`: the periods by whose buckets it sums up, `exact` or by the spans that begin in each.

    `columns`: those that it names only by a parameter; `figures`: those of _RESTS_ON that are wanted.
    """
    unwanted = [name for name in _RESTS_ON if name not in figures]
    without = frozenset((*unwanted, *(below for name in unwanted for below in _RESTS_ON[name])))
    edges = [more[edge] for edge in ("cut", "before_since", "before_until", "before_cut") if edge in more]
    by = [more[one] for one in ("by", "beside") if one in more]
    named = source_sql.columns_used(runner.told(name, without), *by, *columns)
    ends, buckets = {shown.since, shown.until, *edges}, source_sql.lines(slots)
    told = source_sql.parameters(
        shown,
        lines=ends | buckets if exact else ends,
        whole=() if exact else buckets,
        first=min(ends),
    )
    parameters = shown.parameters() | told | more
    return Query(name, parameters, source=source(shown, named, *by), without=without)
