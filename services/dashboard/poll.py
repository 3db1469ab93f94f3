"""A view goes in; a few bytes that change when its rows do come out: what an open page asks for every few seconds."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard.app_context import SITE, user
from services.dashboard.queries.runner import Query


def routes() -> Sequence[web.RouteDef]:
    """GET /version."""
    return [web.get("/version", version)]


async def version(request: web.Request) -> web.Response:
    """503 when the books do not answer."""
    asked = await request.app[SITE].books.ask(Query("dashboard_version", {"account": user(request).account}))
    if asked.failure:
        return web.Response(status=503, text=asked.failure)
    return web.Response(text=str(asked.row["version"]), headers={"Cache-Control": "no-store"})
