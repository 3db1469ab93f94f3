"""The audit log: what was changed, and who changed it."""

from datetime import datetime

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.api import formats, params
from services.dashboard.api.operation import Operation, choice, integer
from shared import audit

MOST_RECORDS = 1000
_MAX_SCANNED = 5000  # records of the audit log read for one page


class AuditRecord(msgspec.Struct, kw_only=True):
    """An administrative change: who, what and when."""

    sequence: int
    at: datetime
    by: str
    via: str
    address: str
    area: str
    action: str
    subject: str
    account: str
    details: dict[str, str]


class AuditLog(msgspec.Struct, kw_only=True):
    """Changes, newest first. `next`: `before` of the next page; null at the end."""

    rows: list[AuditRecord]
    next: int | None


async def read_audit(request: web.Request) -> web.Response:
    """Return changes, of the caller's account only."""
    own = app_context.user(request).account
    limit = params.number(request, "limit", 200)
    found = await audit.read(
        app_context.jetstream(request),
        area=request.query.get("area", ""),
        before=params.number(request, "before", 0),
        limit=_MAX_SCANNED,
    )
    visible = [record for record in found if own in ("", record.account)]
    rows = [AuditRecord(**msgspec.structs.asdict(record)) for record in visible[:limit]]
    following = rows[-1].sequence if len(visible) > limit else None
    if following is None and len(found) == _MAX_SCANNED:
        following = found[-1].sequence
    return formats.respond(request, AuditLog(rows=rows, next=following), rows)


_OF_AUDIT = (
    choice("area", "Only changes of this area.", audit.AREAS),
    integer("limit", "Records per page.", low=1, high=MOST_RECORDS, default=200),
    integer("before", "Only records before this one: the `next` of a page.", low=0, high=10**9, default=0),
)
OPERATIONS = (
    Operation(
        method="GET",
        path="/audit",
        handler=read_audit,
        summary="List administrative changes, newest first",
        response=AuditLog,
        row=AuditRecord,
        parameters=_OF_AUDIT,
        tag="Audit log",
    ),
)
