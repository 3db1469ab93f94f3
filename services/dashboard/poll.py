"""Version of the data, polled by open pages: they refresh when it changes."""

from collections.abc import Sequence

from aiohttp import web

from services.dashboard.app_context import APP_CONTEXT, user
from services.dashboard.queries.runner import Query


def routes() -> Sequence[web.RouteDef]:
    """GET /poll."""
    return [web.get("/poll", poll)]


async def poll(request: web.Request) -> web.Response:
    """Return the version of the newest data; 503 when the query fails."""
    result = await request.app[APP_CONTEXT].runner.run(Query("dashboard_version", {"account": user(request).account}))
    if result.failure:
        return web.Response(status=503, text=result.failure)
    return web.Response(text=str(result.row["version"]), headers={"Cache-Control": "no-store"})
