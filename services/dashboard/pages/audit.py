"""Audit log page: administrative changes, newest first."""

from collections.abc import Sequence
from urllib.parse import urlencode

from aiohttp import web

from services.dashboard import app_context, render
from services.dashboard.nats_connection import NATS_ERRORS, UNREACHABLE, Unavailable
from shared import audit
from shared.audit import Record

_PAGE_SIZE = 200  # records on a page
_MAX_SCANNED = 5000  # records scanned for one page


def routes() -> Sequence[web.RouteDef]:
    """GET /audit."""
    return [web.get("/audit", show)]


async def show(request: web.Request) -> web.Response:
    """Show records by area and user; only those of the user's account."""
    user = app_context.user(request)
    query = request.query
    area = query.get("area", "") if query.get("area") in audit.AREAS else ""
    by = query.get("by", "")
    before = int(text) if (text := query.get("before", "")).isdecimal() and len(text) < 16 else 0
    failure = ""
    status = 200
    recorded = list[Record]()
    try:
        recorded = await audit.read(app_context.jetstream(request), area=area, before=before, limit=_MAX_SCANNED)
    except (Unavailable, *NATS_ERRORS) as error:
        failure = str(error) if isinstance(error, Unavailable) else UNREACHABLE
        status = 503
    visible = [record for record in recorded if user.account in ("", record.account)]
    records = [record for record in visible if by in ("", record.by)]
    older = ""
    if len(records) > _PAGE_SIZE:
        older = "?" + urlencode({"area": area, "by": by, "before": records[_PAGE_SIZE - 1].sequence})
    return await render.page(
        request,
        "audit.html",
        active="/audit",
        status=status,
        failure=failure,
        records=records[:_PAGE_SIZE],
        area=area,
        by=by,
        areas=audit.AREAS,
        people=sorted({record.by for record in visible} | ({by} if by else set())),
        older=older,
    )
