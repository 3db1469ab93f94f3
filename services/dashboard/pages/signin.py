"""Sign-in page: checks name and password, starts and ends sessions."""

import asyncio
import logging
import math
from collections.abc import Sequence

from aiohttp import web

from services.dashboard import app_context, forms, metrics, render
from services.dashboard.auth.csrf import local_path
from services.dashboard.auth.middleware import AUTHENTICATION
from services.dashboard.auth.throttle import SignInThrottle
from services.dashboard.metrics import METRICS
from services.dashboard.nats_connection import NATS_ERRORS, SIGN_IN_UNAVAILABLE, Unavailable
from shared import dashboard_users, passwords

log = logging.getLogger(__name__)

INCORRECT = "Incorrect username or password."
_CONCURRENT_CHECKS = 2  # of passwords: each takes 16 MB and a core
_MAX_QUEUED = 20
_THROTTLE = web.AppKey("backoff", SignInThrottle)
_SLOTS = web.AppKey("slots", asyncio.Semaphore)
_QUEUE = web.AppKey("queue", list[object])


def routes() -> Sequence[web.RouteDef]:
    """GET and POST /signin, POST /signout."""
    return [web.get("/signin", show), web.post("/signin", sign_in), web.post("/signout", sign_out)]


def prepare(app: web.Application) -> None:
    """Create what the sign-ins of one process share."""
    app[_THROTTLE] = SignInThrottle()
    app[_SLOTS] = asyncio.Semaphore(_CONCURRENT_CHECKS)
    app[_QUEUE] = []


async def show(request: web.Request) -> web.StreamResponse:
    """Show the sign-in form."""
    return await _page(request, following=local_path(request.query.get("next", "/")))


async def sign_in(request: web.Request) -> web.StreamResponse:
    """Start a session for a correct password. Ends this browser's old session."""
    auth = request.app[AUTHENTICATION]
    throttle = request.app[_THROTTLE]
    form = await forms.read(request)
    name = form["name"].lower()[:64]
    address = auth.address(request)
    following = local_path(form["next"])
    if not auth.sign_in:
        raise web.HTTPSeeOther(following)
    attempts = request.app[METRICS].sign_ins
    is_crowded = len(request.app[_QUEUE]) >= _MAX_QUEUED
    wait = 1.0 if is_crowded else throttle.begin(user=name, address=address)
    if wait > 0:
        attempts.labels(outcome=metrics.THROTTLED).inc()
        return await _refused(request, seconds=wait, following=following, name=name)
    decided = False
    try:
        user = await _user(request, name, form.plain("password"))
        decided = True
        if user is None:
            throttle.failed(user=name, address=address)
            attempts.labels(outcome=metrics.WRONG).inc()
            log.warning("sign-in refused for %r from %s", name, address)
            return await _page(request, problem=INCORRECT, following=following, name=name, status=401)
        throttle.succeeded(user=name, address=address)
        await _end_session(request)
        agent = request.headers.get("User-Agent", "")
        cookie = await auth.sessions.start(user, address=address, agent=agent)
    except (Unavailable, *NATS_ERRORS):
        attempts.labels(outcome=metrics.UNAVAILABLE).inc()
        problem = f"{SIGN_IN_UNAVAILABLE} Try again shortly."
        return await _page(request, problem=problem, following=following, name=name, status=503)
    finally:
        if not decided:
            throttle.withdrawn(user=name, address=address)
    attempts.labels(outcome=metrics.OK).inc()
    log.info("%s signed in from %s", user.name, address)
    response = web.HTTPSeeOther(following)
    auth.set_cookie(response, cookie)
    raise response


async def sign_out(request: web.Request) -> web.StreamResponse:
    """End the session."""
    try:
        await _end_session(request)
    except (Unavailable, *NATS_ERRORS):
        problem = "You are signed out on this device, but the session stays valid until it expires (NATS unreachable)."
        response: web.StreamResponse = await _page(request, problem=problem, following="/", status=503)
        request.app[AUTHENTICATION].set_cookie(response, "")
        return response
    response = web.HTTPSeeOther("/signin")
    request.app[AUTHENTICATION].set_cookie(response, "")
    raise response


async def _user(request: web.Request, name: str, password: str) -> dashboard_users.User | None:
    """Authenticate a user in constant time, also for unknown names."""
    is_valid_name = dashboard_users.NAME_PATTERN.fullmatch(name) is not None
    entry = await dashboard_users.get(app_context.jetstream(request), name) if is_valid_name else None
    queue = request.app[_QUEUE]
    ticket = object()
    queue.append(ticket)
    try:
        async with request.app[_SLOTS]:
            is_correct = await asyncio.to_thread(passwords.matches, password, entry[0].password if entry else "")
    finally:
        queue.remove(ticket)
    return entry[0] if entry and is_correct else None


async def _end_session(request: web.Request) -> None:
    auth = request.app[AUTHENTICATION]
    session = await auth.sessions.find(request.cookies.get(auth.cookie, ""))
    if session is not None:
        await auth.sessions.end(session[0].name, session[1])


async def _refused(request: web.Request, *, seconds: float, following: str, name: str) -> web.StreamResponse:
    left = math.ceil(seconds)
    problem = f"Too many attempts. Try again in {left} second{'' if left == 1 else 's'}."
    response = await _page(request, problem=problem, following=following, name=name, status=429)
    response.headers["Retry-After"] = str(left)
    return response


async def _page(
    request: web.Request, *, problem: str = "", following: str, name: str = "", status: int = 200
) -> web.Response:
    return await render.page(
        request, "signin.html", active="", status=status, problem=problem, following=following, name=name
    )
