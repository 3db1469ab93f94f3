"""A site goes in; an aiohttp application with all its pages comes out."""

import asyncio

from aiohttp import web

from services.dashboard import version
from services.dashboard.pages import cost, errors, latency, logs, overview, requesters
from services.dashboard.site import HERE, SITE, Site, headers

_PAGES = (overview, cost, latency, errors, requesters, logs, version)  # a module a page, each with its routes()


def application(site: Site) -> web.Application:
    """All routes under one policy."""
    app = web.Application(middlewares=[headers])
    app[SITE] = site
    app[logs.EXPORTS] = asyncio.Semaphore(logs.MOST_EXPORTS)
    for module in _PAGES:
        app.add_routes(module.routes())
    app.router.add_static("/static", HERE / "static")
    return app
