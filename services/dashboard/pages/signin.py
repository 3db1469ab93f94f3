"""A name and a password go in; a session's cookie comes out, and goes again at the end."""

import asyncio
import logging
import math
from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context, forms, metrics
from services.dashboard.admin_changes import SIGN_IN_UNAVAILABLE, Failed, Unavailable
from services.dashboard.auth.csrf import own_path
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.auth.throttle import Backoff
from services.dashboard.metrics import METRICS
from shared import dashboard_users, passwords

log = logging.getLogger(__name__)

WRONG = "Incorrect username or password."
_AT_ONCE = 2  # passwords that are looked at: each takes 16 MB and a core
_WAITING = 20
_BACKOFF = web.AppKey("backoff", Backoff)
_SLOTS = web.AppKey("slots", asyncio.Semaphore)
_QUEUE = web.AppKey("queue", list[object])


def routes() -> Sequence[web.RouteDef]:
    """GET and POST /signin, POST /signout."""
    return [web.get("/signin", form), web.post("/signin", enter), web.post("/signout", leave)]


def prepare(app: web.Application) -> None:
    """What sign-ins of one process share."""
    app[_BACKOFF], app[_SLOTS], app[_QUEUE] = Backoff(), asyncio.Semaphore(_AT_ONCE), []


async def form(request: web.Request) -> web.StreamResponse:
    """The page that asks."""
    return await _page(request, following=own_path(request.query.get("next", "/")))


async def enter(request: web.Request) -> web.StreamResponse:
    """A new session for the right password. An old one in this browser is over: no id outlives a sign-in."""
    own, backoff = request.app[AUTHENTICATION], request.app[_BACKOFF]
    given = await forms.read(request)
    name, address, following = given["name"].lower()[:64], own.address(request), own_path(given["next"])
    if not own.sign_in:
        raise web.HTTPSeeOther(following)
    attempts = request.app[METRICS].sign_ins
    crowded = len(request.app[_QUEUE]) >= _WAITING
    wait = 1.0 if crowded else backoff.begin(user=name, address=address)
    if wait > 0:
        attempts.labels(outcome=metrics.THROTTLED).inc()
        return await _refused(request, seconds=wait, following=following, name=name)
    decided = False
    try:
        user = await _user(request, name, given.plain("password"))
        decided = True
        if user is None:
            backoff.failed(user=name, address=address)
            attempts.labels(outcome=metrics.WRONG).inc()
            log.warning("sign-in refused for %r from %s", name, address)
            return await _page(request, problem=WRONG, following=following, name=name, status=401)
        backoff.succeeded(user=name, address=address)
        await _end_session(request)
        agent = request.headers.get("User-Agent", "")
        cookie = await own.sessions.start(user, address=address, agent=agent)
    except (Unavailable, *Failed):
        attempts.labels(outcome=metrics.UNAVAILABLE).inc()
        problem = f"{SIGN_IN_UNAVAILABLE} Try again shortly."
        return await _page(request, problem=problem, following=following, name=name, status=503)
    finally:
        if not decided:
            backoff.withdrawn(user=name, address=address)
    attempts.labels(outcome=metrics.OK).inc()
    log.info("%s signed in from %s", user.name, address)
    response = web.HTTPSeeOther(following)
    own.set_cookie(response, cookie)
    raise response


async def leave(request: web.Request) -> web.StreamResponse:
    """The session is over, here and on the server."""
    try:
        await _end_session(request)
    except (Unavailable, *Failed):
        problem = "You are signed out on this device, but the session stays valid until it expires (NATS unreachable)."
        response: web.StreamResponse = await _page(request, problem=problem, following="/", status=503)
        request.app[AUTHENTICATION].set_cookie(response, "")
        return response
    away = web.HTTPSeeOther("/signin")
    request.app[AUTHENTICATION].set_cookie(away, "")
    raise away


async def _user(request: web.Request, name: str, password: str) -> dashboard_users.User | None:
    """Whose name and password these are. Takes as long for a name that nobody has."""
    known = dashboard_users.NAME_PATTERN.fullmatch(name) is not None
    found = await dashboard_users.get(request.app[app_context.SITE].control.js, name) if known else None
    queue, here = request.app[_QUEUE], object()
    queue.append(here)
    try:
        async with request.app[_SLOTS]:
            right = await asyncio.to_thread(passwords.matches, password, found[0].password if found else "")
    finally:
        queue.remove(here)
    return found[0] if found and right else None


async def _end_session(request: web.Request) -> None:
    own = request.app[AUTHENTICATION]
    found = await own.sessions.find(request.cookies.get(own.cookie, ""))
    if found is not None:
        await own.sessions.end(found[0].name, found[1])


async def _refused(request: web.Request, *, seconds: float, following: str, name: str) -> web.StreamResponse:
    left = math.ceil(seconds)
    problem = f"Too many attempts. Try again in {left} second{'' if left == 1 else 's'}."
    response = await _page(request, problem=problem, following=following, name=name, status=429)
    response.headers["Retry-After"] = str(left)
    return response


async def _page(
    request: web.Request, *, problem: str = "", following: str, name: str = "", status: int = 200
) -> web.Response:
    return await app_context.page(
        request, "signin.html", active="", status=status, problem=problem, following=following, name=name
    )
