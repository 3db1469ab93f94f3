"""A view goes in; the questions of its panels come out, each to the smallest view of the books that can answer it."""

from typing import Any

import msgspec

from services.dashboard.books import Question
from services.dashboard.view import View

LISTED = 8  # rows of a short list; series beyond are Other
PAGE = 50  # rows of a long one
_ALL = 1000
_OPTION_SECONDS = 1.0  # how long the filter bar may wait for its lists


def usage(shown: View, name: str, *, who: bool = False, **more: Any) -> Question:
    """A question about sums. `who`: it names requesters."""
    source = "usage_live" if "meta" in shown.filters else "usage" if who or shown.asks_who else "usage_totals"
    column = "account" if source == "usage_totals" else "requester"
    parameters = shown.parameters() | {"source": source, "who": column} | more
    return Question(name, parameters, _narrowed(shown))


def requests(shown: View, name: str, *, limit: int) -> Question:
    """A question about single requests."""
    return Question(name, shown.parameters() | {"limit": limit})


def series_by(shown: View, by: str, measure: str) -> Question:
    """One measure by bucket and name: requests, errors, tokens, cost."""
    return usage(shown, "dashboard_series_by", who=by == "requester", by=by, measure=measure)


def table(shown: View, by: str, measure: str, *, beside: str = "", limit: int = _ALL, order: str = "") -> Question:
    """Sums by name and what stands `beside` it (a model's provider), of whatever has any of `measure`."""
    return usage(
        shown,
        "dashboard_by",
        who=by == "requester",
        by=by,
        beside=beside or by,
        measure=measure,
        ordered=order or measure,
        limit=limit,
    )


def sums(shown: View) -> dict[str, Question]:
    """Sums of the period, in all and by bucket, each with what it is compared with."""
    return {
        "totals": _compared(shown, "dashboard_totals"),
        "series": _compared(shown, "dashboard_series"),
    }


def callers(shown: View) -> dict[str, Question]:
    """How many requesters, in all and by bucket, each with what it is compared with."""
    return {
        "callers_totals": _compared(shown, "dashboard_callers_total", who=True),
        "callers_series": _compared(shown, "dashboard_callers", who=True),
    }


def _compared(shown: View, name: str, *, who: bool = False) -> Question:
    passed = shown.period.complete()
    nothing = msgspec.structs.replace(passed, until=passed.since)
    before, part = shown.earlier(shown.period) or nothing, shown.earlier(passed) or nothing
    return usage(
        shown,
        name,
        who=who,
        cut=passed.until,
        before_since=before.since,
        before_until=before.until,
        before_cut=part.until,
    )


def requesters(shown: View, *, measure: str, limit: int, offset: int = 0) -> Question:
    """Sums, trend and models by requester, against the period before."""
    passed = shown.period.complete()
    before = shown.earlier(passed) or msgspec.structs.replace(passed, until=passed.since)
    return usage(
        shown,
        "dashboard_requesters",
        who=True,
        measure=measure,
        limit=limit,
        offset=offset,
        cut=passed.until,
        before_since=before.since,
        before_until=before.until,
    )


def options(shown: View) -> Question:
    """Names for the filter bar."""
    return Question("dashboard_options", shown.parameters(), {"max_execution_time": _OPTION_SECONDS})


def _narrowed(shown: View) -> dict[str, Any]:
    """The filter on metadata, which no sum keeps: applied to the requests below the view usage_live.

    In hex, so that no quoting is left to go wrong.
    """
    if "meta" not in shown.filters:
        return {}
    key, _, value = shown.filters["meta"].partition("=")
    name, wanted = (f"unhex(\\'{text.encode().hex()}\\')" for text in (key, value))
    condition = f"mapContains(metadata, {name}) AND metadata[{name}] = {wanted}"
    return {"additional_table_filters": f"{{'metrion.response_events': '{condition}'}}"}
