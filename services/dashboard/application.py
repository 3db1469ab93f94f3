"""The aiohttp application with all pages."""

import asyncio

from aiohttp import web

from services.dashboard import poll
from services.dashboard.app_context import APP_CONTEXT, AppContext
from services.dashboard.auth import routes
from services.dashboard.auth.middleware import AUTHENTICATION, Authentication, authenticate
from services.dashboard.metrics import METRICS, count_requests
from services.dashboard.pages import (
    alert_channels,
    alerts,
    audit,
    cache,
    cost,
    errors,
    health,
    integrate,
    keys,
    latency,
    limits,
    logs,
    overview,
    requesters,
    sessions,
    settings,
    signin,
)
from services.dashboard.render import FOLDER, add_headers

_ANALYTICS = (overview, cost, latency, errors, requesters, sessions, logs, poll)
_ADMINISTRATION = (keys, limits, alerts, alert_channels, cache, integrate, health, audit, settings, signin)
_PAGES = (*_ANALYTICS, *_ADMINISTRATION)  # one module per page, each with routes()
_MAX_FORM_BYTES = 64 << 10


def application(context: AppContext, auth: Authentication) -> web.Application:
    """Build the application; ValueError for a route without an entry in auth.routes."""
    app = web.Application(middlewares=[count_requests, add_headers, authenticate], client_max_size=_MAX_FORM_BYTES)
    app[APP_CONTEXT] = context
    app[AUTHENTICATION] = auth
    app[METRICS] = context.runner.metrics
    app[logs.EXPORTS] = asyncio.Semaphore(logs.MAX_EXPORTS)
    signin.prepare(app)
    for module in _PAGES:
        app.add_routes(module.routes())
    app.router.add_static("/static", FOLDER / "static")
    routes.check(app)
    return app
