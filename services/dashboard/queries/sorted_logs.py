"""The request list by cost, tokens or latency, highest first, in pages.

No more than the first MOST requests can be paged through.
The keys of a page come from the whole period, read in the few columns that decide; then only the rows of that page are
read. The rollup has no single requests, so nothing narrows the period but the filters.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any

from services.dashboard.page_params import SORT, View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import log_pages
from services.dashboard.queries.log_pages import SIZE, Page
from services.dashboard.queries.runner import Query, QueryRunner

SORTS = ("cost", "tokens", "latency")
MOST = 1000  # requests that can be paged through
PAGES = MOST // SIZE
_TICK = timedelta(microseconds=1)
_THREADS = 4  # of ClickHouse: a million requests take about 0.6 s of CPU time


def sort(view: View) -> str:
    """Return the chosen measure; "" for the list by time. Raises BadParameter."""
    name = view.query.get(SORT, "")
    if name and name not in SORTS:
        raise BadParameter(f"Invalid sort. Use {', '.join(SORTS)}, or none for the newest first.")
    return name


async def page(runner: QueryRunner, view: View, number: int) -> Page:
    """Return the page of this number, from 1 to PAGES."""
    place = {"measure": sort(view), "offset": (number - 1) * SIZE, "limit": SIZE + 1, "search": log_pages.search(view)}
    keys = await runner.run(Query("dashboard_logs_sorted", view.parameters() | place, {"max_threads": _THREADS}))
    if keys.failure or not keys.rows:
        return Page([], failure=keys.failure)
    moments = {row["id"]: row["started_at"] for row in keys.rows[:SIZE]}
    rows = await runner.run(_rows(view, moments))
    found = {row["id"]: row for row in rows.rows}
    more = len(keys.rows) > SIZE and number < PAGES
    return Page([found[name] for name in moments if name in found], more=more, failure=rows.failure)


def _rows(view: View, moments: dict[uuid.UUID, datetime]) -> Query:
    hours = {at.replace(minute=0, second=0, microsecond=0) for at in moments.values()}
    parameters: dict[str, Any] = {
        "since": log_pages.timestamp(min(moments.values())),
        "until": log_pages.timestamp(max(moments.values()) + _TICK),
        "account": view.account,
        "hours": sorted(hours),
        "ids": [str(one) for one in moments],
    }
    return Query("dashboard_logs_rows", parameters)
