"""The aiohttp application with all pages."""

from aiohttp import web

from services.dashboard import poll, static_files
from services.dashboard.api import problem, requests, table
from services.dashboard.app_context import APP_CONTEXT, AppContext
from services.dashboard.auth import routes
from services.dashboard.auth.api_keys import API_ACCESS, ApiAccess
from services.dashboard.auth.middleware import AUTHENTICATION, Authentication, authenticate
from services.dashboard.auth.proxy_tokens import TOKEN_ACCESS, TokenAccess
from services.dashboard.mcp import http
from services.dashboard.metrics import METRICS, count_requests
from services.dashboard.pages import (
    accounts,
    alert_channels,
    alerts,
    api_keys,
    audit,
    cache,
    changes,
    cost,
    errors,
    explore,
    health,
    integrate,
    keys,
    latency,
    limits,
    logs,
    overview,
    prompt_cache,
    requesters,
    savings,
    search,
    sessions,
    settings,
    signin,
    views,
)
from services.dashboard.render import FOLDER, add_headers

_ANALYTICS = (
    overview, cost, changes, accounts, savings, explore, latency, errors, requesters, sessions, prompt_cache, logs,
    search, poll,
)  # fmt: skip
_ADMINISTRATION = (
    keys,
    limits,
    alerts,
    alert_channels,
    cache,
    integrate,
    health,
    audit,
    settings,
    api_keys,
    signin,
    views,
)
_PAGES = (*_ANALYTICS, *_ADMINISTRATION)  # one module per page, each with routes()
_MAX_FORM_BYTES = 64 << 10
_MIDDLEWARES = (count_requests, problem.answer_with_problems, add_headers, authenticate)


def application(context: AppContext, auth: Authentication) -> web.Application:
    """Build the application; ValueError for a route without an entry in auth.routes."""
    app = web.Application(middlewares=[*_MIDDLEWARES], client_max_size=_MAX_FORM_BYTES)
    app[APP_CONTEXT] = context
    app[AUTHENTICATION] = auth
    app[METRICS] = context.runner.metrics
    app[API_ACCESS] = access = ApiAccess(context.nats, per_minute=context.api_requests_per_minute)
    app.cleanup_ctx.append(access.run)
    app[TOKEN_ACCESS] = TokenAccess(context.nats, per_minute=context.api_requests_per_minute)
    app[logs.EXPORTS] = []
    signin.prepare(app)
    requests.prepare(app)
    http.prepare(app)
    for module in _PAGES:
        app.add_routes(module.routes())
    app.add_routes(table.routes())
    app.add_routes(http.routes())
    app.add_routes(static_files.routes(FOLDER / "static"))
    routes.check(app)
    return app
