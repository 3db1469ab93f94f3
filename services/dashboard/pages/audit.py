"""The audit log comes out, newest first: who changed what, when and from where."""

from collections.abc import Sequence
from urllib.parse import urlencode

from aiohttp import web

from services.dashboard import app_context
from services.dashboard.admin_changes import UNREACHABLE, Failed, Unavailable
from shared import audit
from shared.audit import Record

_SHOWN = 200  # records on a page
_LOOKED = 5000  # numbers that one page looks through


def routes() -> Sequence[web.RouteDef]:
    """GET /audit."""
    return [web.get("/audit", show)]


async def show(request: web.Request) -> web.Response:
    """Records of an area and a person; an account's admin sees those of the account alone."""
    user, query = app_context.user(request), request.query
    area, by = query.get("area", "") if query.get("area") in audit.AREAS else "", query.get("by", "")
    before = int(text) if (text := query.get("before", "")).isdecimal() and len(text) < 16 else 0
    failure, status, found = "", 200, list[Record]()
    try:
        found = await audit.read(request.app[app_context.SITE].control.js, area=area, before=before, limit=_LOOKED)
    except (Unavailable, *Failed) as error:
        failure, status = (str(error) if isinstance(error, Unavailable) else UNREACHABLE), 503
    mine = [record for record in found if user.account in ("", record.account)]
    records = [record for record in mine if by in ("", record.by)]
    older = ""
    if len(records) > _SHOWN:
        older = "?" + urlencode({"area": area, "by": by, "before": records[_SHOWN - 1].sequence})
    return await app_context.page(
        request,
        "audit.html",
        active="/audit",
        status=status,
        failure=failure,
        records=records[:_SHOWN],
        area=area,
        by=by,
        areas=audit.AREAS,
        people=sorted({record.by for record in mine} | ({by} if by else set())),
        older=older,
    )
