"""A site and a door go in; an aiohttp application with all its pages comes out."""

import asyncio

from aiohttp import web

from services.dashboard import poll
from services.dashboard.app_context import HERE, SITE, Site, headers
from services.dashboard.auth import routes
from services.dashboard.auth.middleware import AUTHENTICATION, Authentication, door
from services.dashboard.metrics import METRICS, counted
from services.dashboard.pages import (
    audit,
    cache,
    cost,
    errors,
    health,
    integrate,
    keys,
    latency,
    logs,
    overview,
    requesters,
    settings,
    signin,
)

_ANALYTICS = (overview, cost, latency, errors, requesters, logs, poll)
_CONTROL = (keys, cache, integrate, health, audit, settings, signin)
_PAGES = (*_ANALYTICS, *_CONTROL)  # a module a page, each with its routes()
_LARGEST_FORM = 64 << 10


def application(site: Site, own: Authentication) -> web.Application:
    """All routes under one policy; ValueError for a route of which nobody decided who may use it."""
    app = web.Application(middlewares=[counted, headers, door], client_max_size=_LARGEST_FORM)
    app[SITE], app[AUTHENTICATION], app[METRICS] = site, own, site.books.metrics
    app[logs.EXPORTS] = asyncio.Semaphore(logs.MOST_EXPORTS)
    signin.prepare(app)
    for module in _PAGES:
        app.add_routes(module.routes())
    app.router.add_static("/static", HERE / "static")
    routes.check(app)
    return app
