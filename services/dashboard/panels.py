"""A view goes in; the questions of its panels come out, each to the smallest view of the books that can answer it."""

from typing import Any

import msgspec

from services.dashboard.books import Question
from services.dashboard.periods import Period
from services.dashboard.view import View

LISTED = 8  # rows of a short list; series beyond are Other
PAGE = 50  # rows of a long one
_ALL = 1000
_OPTION_SECONDS = 1.0  # how long the filter bar may wait for its lists


def usage(shown: View, name: str, *, who: bool = False, period: Period | None = None, **more: Any) -> Question:
    """A question about sums. `who`: it names requesters."""
    source = "usage_live" if "meta" in shown.filters else "usage" if who or shown.asks_who else "usage_totals"
    column = "account" if source == "usage_totals" else "requester"
    parameters = shown.parameters(period=period) | {"source": source, "who": column} | more
    return Question(name, parameters, _narrowed(shown))


def requests(shown: View, name: str, *, limit: int) -> Question:
    """A question about single requests."""
    return Question(name, shown.parameters() | {"limit": limit})


def totals(shown: View, period: Period | None = None) -> Question:
    """One row of sums."""
    return usage(shown, "dashboard_totals", period=period)


def series(shown: View, period: Period | None = None) -> Question:
    """Sums by bucket."""
    return usage(shown, "dashboard_series", period=period)


def series_by(shown: View, by: str, measure: str) -> Question:
    """One measure by bucket and name: requests, errors, tokens, cost."""
    return usage(shown, "dashboard_series_by", who=by == "requester", by=by, measure=measure)


def table(shown: View, by: str, measure: str, *, beside: str = "", limit: int = _ALL) -> Question:
    """Sums by name, and what stands `beside` it (a model's provider)."""
    who = by == "requester"
    return usage(shown, "dashboard_by", who=who, by=by, beside=beside or by, measure=measure, limit=limit)


def callers(shown: View) -> dict[str, Question]:
    """How many requesters, by bucket and in all; and of what is compared."""
    passed = shown.period.complete()
    asked = [
        ("callers_series", "dashboard_callers", shown.period),
        ("callers_series_before", "dashboard_callers", shown.earlier(shown.period)),
        ("callers_totals", "dashboard_callers_total", shown.period),
        ("callers_now", "dashboard_callers_total", passed),
        ("callers_before", "dashboard_callers_total", shown.earlier(passed)),
    ]
    return {name: usage(shown, question, who=True, period=period) for name, question, period in asked if period}


def trends(shown: View) -> dict[str, Question]:
    """Sums by bucket, of the period and of the one before."""
    before = shown.earlier(shown.period)
    found = {"series": series(shown)}
    return found if before is None else found | {"series_before": series(shown, before)}


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


def compared(shown: View) -> dict[str, Question]:
    """The sums of the period; and, to compare, of what passed of it and of as much of the one before."""
    passed = shown.period.complete()
    before = shown.earlier(passed)
    found = {"totals": totals(shown)}
    return found if before is None else found | {"now": totals(shown, passed), "before": totals(shown, before)}


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
