"""The access that each route requires; a route without an entry stops the start."""

import enum

from aiohttp import web


class Access(enum.Enum):
    """Access levels, from the lowest to the highest."""

    ANYBODY = "anybody"  # signed in or not
    VIEWER = "viewer"  # signed in; handlers show only rows of the user's account
    ALL_ACCOUNTS = "viewer of all accounts"
    ADMIN = "admin"  # may change their account; handlers check app_context.account_of
    OPERATOR = "operator"  # admin of all accounts


ROUTES = {
    "GET /static/{name}": Access.ANYBODY,
    "GET /signin": Access.ANYBODY,
    "POST /signin": Access.ANYBODY,
    "POST /signout": Access.ANYBODY,
    "GET /": Access.VIEWER,
    "GET /cost": Access.VIEWER,
    "GET /changes": Access.VIEWER,
    "GET /accounts": Access.VIEWER,
    "GET /statement": Access.VIEWER,
    "GET /statement.csv": Access.VIEWER,
    "GET /savings": Access.VIEWER,
    "GET /explore": Access.VIEWER,
    "GET /explore.csv": Access.VIEWER,
    "GET /latency": Access.VIEWER,
    "GET /errors": Access.VIEWER,
    "GET /requesters": Access.VIEWER,
    "GET /requesters/names": Access.VIEWER,
    "GET /search": Access.VIEWER,
    "GET /sessions": Access.VIEWER,
    "GET /session": Access.VIEWER,
    "GET /prompt-cache": Access.VIEWER,
    "GET /logs": Access.VIEWER,
    "GET /logs/tail": Access.VIEWER,
    "GET /logs.csv": Access.VIEWER,
    "GET /logs.jsonl": Access.VIEWER,
    "GET /logs/{id}": Access.VIEWER,
    "GET /poll": Access.VIEWER,
    "GET /views": Access.VIEWER,
    "POST /views": Access.VIEWER,  # shared ones: only for users who see the same accounts
    "POST /views/rename": Access.VIEWER,
    "POST /views/delete": Access.VIEWER,
    "GET /keys": Access.VIEWER,
    "POST /keys/account": Access.OPERATOR,
    "POST /keys/account/revoke": Access.OPERATOR,
    "POST /keys/token": Access.ADMIN,
    "POST /keys/token/change": Access.ADMIN,
    "POST /keys/token/revoke": Access.ADMIN,
    "POST /keys/token/regenerate": Access.ADMIN,
    "POST /keys/provider": Access.ADMIN,
    "POST /keys/provider/delete": Access.ADMIN,
    "GET /limits": Access.VIEWER,
    "POST /limits": Access.ADMIN,
    "POST /limits/delete": Access.ADMIN,
    "GET /alerts": Access.VIEWER,
    "POST /alerts": Access.ADMIN,
    "POST /alerts/delete": Access.ADMIN,
    "POST /alerts/pause": Access.ADMIN,
    "POST /alerts/test": Access.ADMIN,
    "POST /alerts/channel": Access.ADMIN,
    "POST /alerts/channel/delete": Access.ADMIN,
    "GET /cache": Access.VIEWER,
    "POST /cache/default": Access.ADMIN,
    "POST /cache/purge": Access.ADMIN,
    "GET /integrate": Access.VIEWER,
    "POST /integrate/token": Access.ADMIN,
    "POST /integrate/key": Access.ADMIN,
    "GET /integrate/seen": Access.VIEWER,
    "GET /health": Access.OPERATOR,
    "POST /health/replay": Access.OPERATOR,
    "POST /health/discard": Access.OPERATOR,
    "GET /audit": Access.ADMIN,
    "GET /settings": Access.VIEWER,
    "POST /settings/password": Access.VIEWER,
    "POST /settings/preferences": Access.VIEWER,
    "POST /settings/session/end": Access.VIEWER,
    "POST /settings/user": Access.OPERATOR,
    "POST /settings/user/change": Access.OPERATOR,
    "POST /settings/user/password": Access.OPERATOR,
    "POST /settings/user/delete": Access.OPERATOR,
    "POST /settings/api-key": Access.ADMIN,
    "POST /settings/api-key/revoke": Access.ADMIN,
}
API_ROUTES = {  # errors are problems, and a session of the dashboard can only read
    "GET /api/v1/openapi.json": Access.ANYBODY,
    "GET /api/v1/usage{suffix}": Access.VIEWER,
    "GET /api/v1/series{suffix}": Access.VIEWER,
    "GET /api/v1/changes{suffix}": Access.VIEWER,
    "GET /api/v1/errors{suffix}": Access.VIEWER,
    "GET /api/v1/latency{suffix}": Access.VIEWER,
    "GET /api/v1/prices{suffix}": Access.VIEWER,
    "GET /api/v1/completeness{suffix}": Access.ALL_ACCOUNTS,
    "GET /api/v1/requests{suffix}": Access.VIEWER,
    "GET /api/v1/requests/{id}": Access.VIEWER,
    "GET /api/v1/export/focus": Access.VIEWER,
    "GET /api/v1/accounts": Access.VIEWER,
    "POST /api/v1/accounts": Access.OPERATOR,
    "PATCH /api/v1/accounts/{account}": Access.ADMIN,
    "POST /api/v1/accounts/{account}/revoke": Access.OPERATOR,
    "GET /api/v1/accounts/{account}/tokens": Access.VIEWER,
    "POST /api/v1/accounts/{account}/tokens": Access.ADMIN,
    "POST /api/v1/accounts/{account}/tokens/{name}/regenerate": Access.ADMIN,
    "DELETE /api/v1/accounts/{account}/tokens/{name}": Access.ADMIN,
    "GET /api/v1/accounts/{account}/provider-keys": Access.VIEWER,
    "PUT /api/v1/accounts/{account}/provider-keys/{provider}": Access.ADMIN,
    "DELETE /api/v1/accounts/{account}/provider-keys/{provider}": Access.ADMIN,
    "GET /api/v1/limits": Access.VIEWER,
    "PUT /api/v1/accounts/{account}/limits/{name}": Access.ADMIN,
    "DELETE /api/v1/accounts/{account}/limits/{name}": Access.ADMIN,
    "GET /api/v1/alerts": Access.VIEWER,
    "POST /api/v1/accounts/{account}/alerts": Access.ADMIN,
    "PATCH /api/v1/accounts/{account}/alerts/{name}": Access.ADMIN,
    "DELETE /api/v1/accounts/{account}/alerts/{name}": Access.ADMIN,
    "GET /api/v1/accounts/{account}/channels": Access.VIEWER,
    "PUT /api/v1/accounts/{account}/channels/{name}": Access.ADMIN,
    "DELETE /api/v1/accounts/{account}/channels/{name}": Access.ADMIN,
    "GET /api/v1/users": Access.OPERATOR,
    "POST /api/v1/users": Access.OPERATOR,
    "PATCH /api/v1/users/{name}": Access.OPERATOR,
    "POST /api/v1/users/{name}/password": Access.OPERATOR,
    "DELETE /api/v1/users/{name}": Access.OPERATOR,
    "GET /api/v1/api-keys": Access.ADMIN,
    "POST /api/v1/api-keys": Access.ADMIN,
    "DELETE /api/v1/api-keys/{name}": Access.ADMIN,
    "GET /api/v1/sql-users": Access.ADMIN,
    "POST /api/v1/sql-users": Access.ADMIN,
    "DELETE /api/v1/sql-users/{name}": Access.ADMIN,
    "GET /api/v1/audit{suffix}": Access.ADMIN,
}
MCP_ROUTES = {"POST /mcp": Access.VIEWER}  # the tools ask the API in the caller's name
ALL_ROUTES = ROUTES | API_ROUTES | MCP_ROUTES
OF_API = ("/api/", "/mcp")  # beginnings of paths that take API keys, and whose errors are problems


TOKEN_ROUTES = frozenset({"GET /api/v1/requests/{id}"})  # also open to the token that made the request


def names(app: web.Application) -> set[str]:
    """Return all routes of an application, named as in ROUTES; HEAD counts as GET."""
    routes = set()
    for resource in app.router.resources():
        routes |= {f"{route.method} {resource.canonical}" for route in resource if route.method != "HEAD"}
    return routes


def check(app: web.Application) -> None:
    """Raise ValueError for a route without an entry in ALL_ROUTES."""
    if undecided := names(app) - ALL_ROUTES.keys():
        raise ValueError(
            f"routes without an entry in services/dashboard/auth/routes.py: {', '.join(sorted(undecided))}"
        )


def required_access(request: web.Request) -> Access | None:
    """Return the access that a request's route requires; None if unknown."""
    name = _name(request)
    return ALL_ROUTES[name] if name else None


def is_open_to_tokens(request: web.Request) -> bool:
    """Whether a token of the proxy may be sent to a request's route."""
    return _name(request) in TOKEN_ROUTES


def _name(request: web.Request) -> str:
    """Return the name of a request's route; "" if it has none."""
    resource = request.match_info.route.resource
    method = "GET" if request.method == "HEAD" else request.method
    return "" if resource is None else f"{method} {resource.canonical}"
