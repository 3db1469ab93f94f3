"""The request list by cost, tokens or latency, highest first, in pages.

No more than the first MOST requests can be paged through. The rollup has no single requests, so nothing narrows the
period but the filters: the keys of a page come from the whole period, read in the few columns that decide, then its
rows.

Merging the versions of all requests takes most of the time. So the first keys are those of any versions: the current
ones among them are in the right order, and no current one of a higher rank is missing. Only if too many of them turn
out to be superseded, as after a recalculation, the versions are merged first.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from services.dashboard.page_params import SORT, View
from services.dashboard.periods import BadParameter
from services.dashboard.queries import log_pages
from services.dashboard.queries.log_pages import SIZE, Page
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner

SORTS = ("cost", "tokens", "latency")
MOST = 1000  # requests that can be paged through
PAGES = MOST // SIZE
_SPARE = SIZE  # versions that may be superseded
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
    first, most = (number - 1) * SIZE, number * SIZE + 1 + _SPARE
    versions = await _keys(runner, view, "response_events", offset=0, limit=most)
    rows = await _rows(runner, view, versions.rows)
    ranks = {(row["id"], row[sort(view)]): rank for rank, row in enumerate(versions.rows)}
    current = {ranks[key]: row for row in rows.rows if (key := (row["id"], row[sort(view)])) in ranks}
    listed = [current[rank] for rank in sorted(current)][first:]
    failure = versions.failure or rows.failure
    if not failure and len(versions.rows) == most and len(listed) <= SIZE:
        keys = await _keys(runner, view, "requests", offset=first, limit=SIZE + 1)
        rows = await _rows(runner, view, keys.rows)
        found = {row["id"]: row for row in rows.rows}
        listed = [found[row["id"]] for row in keys.rows if row["id"] in found]
        failure = keys.failure or rows.failure
    return Page(listed[:SIZE], more=len(listed) > SIZE and number < PAGES, failure=failure)


async def _keys(runner: QueryRunner, view: View, table: str, *, offset: int, limit: int) -> QueryResult:
    place = {"measure": sort(view), "offset": offset, "limit": limit, "search": log_pages.search(view)}
    query = Query("dashboard_logs_sorted", view.parameters() | place, {"max_threads": _THREADS})
    return await runner.run(query._replace(text=query.sql.replace("{source:Identifier}", table)))


async def _rows(runner: QueryRunner, view: View, keys: Sequence[Mapping[str, Any]]) -> QueryResult:
    """Read the current rows of these keys, if the filters select them."""
    if not keys:
        return QueryResult([])
    moments = [row["started_at"] for row in keys]
    chosen: dict[str, Any] = {
        "since": log_pages.timestamp(min(moments)),
        "until": log_pages.timestamp(max(moments) + _TICK),
        "hours": sorted({at.replace(minute=0, second=0, microsecond=0) for at in moments}),
        "ids": sorted({str(row["id"]) for row in keys}),
        "search": log_pages.search(view),
    }
    return await runner.run(Query("dashboard_logs_rows", view.parameters() | chosen))
