"""Finds a request by its ID: by the time in the ID, else by the index of IDs."""

import uuid
from datetime import UTC, datetime, timedelta

from services.dashboard.queries import log_pages
from services.dashboard.queries.runner import Query, QueryResult, QueryRunner

_ID_TOLERANCE = timedelta(hours=1)  # between the time in an ID and the start of the request


async def find(runner: QueryRunner, request_id: uuid.UUID, *, account: str) -> QueryResult:
    """Return the request; no row if it is unknown or of another account."""
    result = await find_by_time(runner, request_id, account=account)
    if result.rows or result.failure:
        return result
    when = await runner.run(Query("dashboard_logs_find", {"id": str(request_id), "account": account}))
    if not when.rows:
        return when
    at = when.row["started_at"]
    return await _between(runner, request_id, at, at + timedelta(microseconds=1), account=account)


async def find_by_time(runner: QueryRunner, request_id: uuid.UUID, *, account: str) -> QueryResult:
    """Look for a request by the time in its ID alone; no row if the ID has none."""
    milliseconds = request_id.int >> 80
    if request_id.version != 7 or milliseconds >= 1 << 42:
        return QueryResult([])
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return await _between(runner, request_id, at - _ID_TOLERANCE, at + _ID_TOLERANCE, account=account)


async def _between(
    runner: QueryRunner, request_id: uuid.UUID, since: datetime, until: datetime, *, account: str
) -> QueryResult:
    spans = {"since": log_pages.timestamp(since), "until": log_pages.timestamp(until)}
    return await runner.run(Query("dashboard_logs_request", {"id": str(request_id), "account": account, **spans}))
