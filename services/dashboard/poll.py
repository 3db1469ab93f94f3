"""Version of the data, polled by open pages: they refresh when it changes."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard.app_context import SITE, user
from services.dashboard.queries.runner import Query


def routes() -> Sequence[web.RouteDef]:
    """GET /poll."""
    return [web.get("/poll", poll)]


async def poll(request: web.Request) -> web.Response:
    """Return the version of the newest data; 503 when the query fails."""
    asked = await request.app[SITE].books.ask(Query("dashboard_version", {"account": user(request).account}))
    if asked.failure:
        return web.Response(status=503, text=asked.failure)
    return web.Response(text=str(asked.row["version"]), headers={"Cache-Control": "no-store"})
