"""The access that each route requires; a route without an entry stops the start."""

import enum

from aiohttp import web
from aiohttp.web_urldispatcher import StaticResource


class Access(enum.Enum):
    """Access levels, from the lowest to the highest."""

    ANYBODY = "anybody"  # signed in or not
    VIEWER = "viewer"  # signed in; handlers show only rows of the user's account
    ADMIN = "admin"  # may change their account; handlers check app_context.account_of
    OPERATOR = "operator"  # admin of all accounts


ROUTES = {
    "GET /static": Access.ANYBODY,
    "GET /signin": Access.ANYBODY,
    "POST /signin": Access.ANYBODY,
    "POST /signout": Access.ANYBODY,
    "GET /": Access.VIEWER,
    "GET /cost": Access.VIEWER,
    "GET /latency": Access.VIEWER,
    "GET /errors": Access.VIEWER,
    "GET /requesters": Access.VIEWER,
    "GET /sessions": Access.VIEWER,
    "GET /session": Access.VIEWER,
    "GET /logs": Access.VIEWER,
    "GET /logs/tail": Access.VIEWER,
    "GET /logs.csv": Access.VIEWER,
    "GET /logs.jsonl": Access.VIEWER,
    "GET /logs/{id}": Access.VIEWER,
    "GET /poll": Access.VIEWER,
    "GET /keys": Access.VIEWER,
    "POST /keys/account": Access.OPERATOR,
    "POST /keys/account/revoke": Access.OPERATOR,
    "POST /keys/token": Access.ADMIN,
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
}


def names(app: web.Application) -> set[str]:
    """Return all routes of an application, named as in ROUTES; HEAD counts as GET."""
    routes = set()
    for resource in app.router.resources():
        if isinstance(resource, StaticResource):
            routes.add(f"GET {resource.canonical}")
            continue
        routes |= {f"{route.method} {resource.canonical}" for route in resource if route.method != "HEAD"}
    return routes


def check(app: web.Application) -> None:
    """Raise ValueError for a route without an entry in ROUTES."""
    if undecided := names(app) - ROUTES.keys():
        raise ValueError(
            f"routes without an entry in services/dashboard/auth/routes.py: {', '.join(sorted(undecided))}"
        )


def required_access(request: web.Request) -> Access | None:
    """Return the access that a request's route requires; None if unknown."""
    resource = request.match_info.route.resource
    if resource is None:
        return None
    method = "GET" if request.method == "HEAD" else request.method
    return ROUTES[f"{method} {resource.canonical}"]
