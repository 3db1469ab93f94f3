"""A view goes in; the questions of its panels come out, each to the smallest part of the books that can answer it."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import msgspec

from services.dashboard import sources
from services.dashboard.books import Asked, Question
from services.dashboard.periods import Period
from services.dashboard.view import View

LISTED = 8  # rows of a short list; series beyond are Other
PAGE = 50  # rows of a long one
PARTED = {
    "sums": "",
    "callers": "callers_",
    "percentiles": "long_",
}  # as in `parts`: …totals, …series
_ALL = 1000
Source = Callable[[View, Collection[datetime]], str]
_OPTION_SECONDS = 1.0  # how long the filter bar may wait for its lists


def requests(shown: View, name: str, *, limit: int) -> Question:
    """A question about single requests."""
    return Question(name, shown.parameters() | {"limit": limit})


def series_by(shown: View, by: str, measure: str) -> Question:
    """One measure by bucket and name: requests, errors, tokens, cost."""
    source = sources.requesters if by == "requester" else sources.totals
    return _ask(shown, "dashboard_series_by", source, [shown.period], by=by, measure=measure)


def histogram(shown: View) -> Question:
    """How many ended how, by bucket and in all."""
    return _ask(shown, "dashboard_logs_histogram", sources.totals, [shown.period])


def table(shown: View, by: str, measure: str, *, beside: str = "", limit: int = _ALL, order: str = "") -> Question:
    """Sums by name and what stands `beside` it (a model's provider), of whatever has any of `measure`."""
    more: dict[str, Any] = {"measure": measure, "ordered": order or measure, "limit": limit}
    return _ask(shown, "dashboard_by", sources.totals, by=by, beside=beside or by, **more)


def classes(shown: View) -> Question:
    """Cost by class."""
    return _ask(shown, "dashboard_classes", sources.totals)


def percentiles_by(shown: View, by: str, *, beside: str = "") -> Question:
    """Percentiles of latency by name and what stands beside it: provider, model."""
    return _ask(shown, "dashboard_latency_by", sources.latency, by=by, beside=beside or by, whole=0)


def sums(shown: View) -> Question:
    """Sums of the period, in all and by bucket, each with what it is compared with: see `parts`."""
    return _compared(shown, "dashboard_sums", sources.totals)


def percentiles(shown: View) -> Question:
    """The same for percentiles of latency."""
    whole = int(not {"provider", "model"} & set(shown.filters))
    return _compared(shown, "dashboard_latency", sources.latency, whole=whole)


def callers(shown: View) -> Question:
    """The same for how many requesters there were."""
    return _compared(shown, "dashboard_callers", sources.requesters)


def parts(asked: Asked) -> tuple[Asked, Asked]:
    """Such an answer in all (`period`, `passed`, `before`) and by bucket (`period`, `before`)."""
    slots = [row for row in asked.rows if not row["whole"]]
    return asked._replace(rows=[row for row in asked.rows if row["whole"]]), asked._replace(rows=slots)


def _compared(shown: View, name: str, source: Source, **more: Any) -> Question:
    passed = shown.period.complete()
    nothing = msgspec.structs.replace(passed, until=passed.since)
    before, part = shown.earlier(shown.period) or nothing, shown.earlier(passed) or nothing
    edges = {"cut": passed.until, "before_since": before.since, "before_until": before.until, "before_cut": part.until}
    return _ask(shown, name, source, [shown.period, before], **edges, **more)


def requesters(shown: View, *, measure: str, limit: int, offset: int = 0) -> Question:
    """Sums, trend and models by requester, against the period before."""
    passed = shown.period.complete()
    before = shown.earlier(passed) or msgspec.structs.replace(passed, until=passed.since)
    edges: dict[str, Any] = {"cut": passed.until, "before_since": before.since, "before_until": before.until}
    more: dict[str, Any] = {"measure": measure, "limit": limit, "offset": offset}
    return _ask(shown, "dashboard_requesters", sources.requesters, [shown.period], **edges, **more)


def requester_models(shown: View, names: Collection[str]) -> Question:
    """The models of some requesters."""
    return _ask(shown, "dashboard_requester_models", sources.requesters, names=list(names))


def options(shown: View) -> Question:
    """Names for the filter bar."""
    return Question("dashboard_options", shown.parameters(), {"max_execution_time": _OPTION_SECONDS})


def _ask(shown: View, name: str, source: Source, slots: Collection[Period] = (), **more: Any) -> Question:
    """`slots`: the periods by whose buckets it sums up."""
    moments = [more[edge] for edge in ("cut", "before_since", "before_until", "before_cut") if edge in more]
    split = sources.split(shown.since, shown.until, *moments, periods=slots)
    chosen = source(shown, split)
    parameters = shown.parameters() | {"who": sources.who(chosen), "split": split} | more
    return Question(name, parameters, sources.narrowed(shown), chosen)
