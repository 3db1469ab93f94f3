"""Completeness: whether every event that gateways have numbered is stored."""

from datetime import UTC, datetime, timedelta

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import formats, params
from services.dashboard.api.operation import Operation, integer
from services.dashboard.queries.runner import Query
from shared.completeness import verdict

MOST_HOURS = 6 * 24


class Instance(msgspec.Struct, kw_only=True):
    """A gateway instance and its events."""

    gateway: str
    spool: str
    epoch: int
    sent: int
    stored: int
    dropped: int
    missing: int
    duplicated: int
    state: str
    heard_at: datetime | None


class Completeness(msgspec.Struct, kw_only=True):
    """Whether anything may be missing, as `metrion completeness` says it."""

    is_complete: bool
    verdict: str
    missing: int
    dropped: int
    duplicated: int
    unconfirmed: int
    rows: list[Instance]


async def completeness(request: web.Request) -> web.Response:
    """Return the gateway instances of the last hours, and the verdict."""
    since = datetime.now(UTC) - timedelta(hours=params.number(request, "hours", 24))
    result = await app_context.runner(request).run(Query("completeness", {"since": since}))
    if result.failure:
        raise params.failed(result.failure)
    found = verdict(result.rows)
    rows = [Instance(**{name: row[name] for name in Instance.__struct_fields__}) for row in result.rows]
    document = Completeness(
        is_complete=found.complete,
        verdict=found.sentence(),
        missing=found.missing,
        dropped=found.dropped,
        duplicated=found.duplicated,
        unconfirmed=len(found.unconfirmed),
        rows=rows,
    )
    return formats.respond(request, document, rows)


OPERATIONS = (
    Operation(
        method="GET",
        path="/completeness",
        handler=completeness,
        summary="Verify that no event is missing",
        response=Completeness,
        row=Instance,
        parameters=(integer("hours", "How far to look back.", low=1, high=MOST_HOURS, default=24),),
        tag="Pipeline",
    ),
)
