"""A request goes in; it goes on with the person who asks, or is turned away: unknown host, foreign page, no right."""

import ipaddress
import logging
from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.admin_changes import SIGN_IN_UNAVAILABLE, AdminChanges, Failed, Unavailable
from services.dashboard.app_context import User
from services.dashboard.auth import csrf, routes
from services.dashboard.auth.routes import Access
from services.dashboard.auth.sessions import ABSOLUTE, Sessions
from services.dashboard.metrics import Handler
from shared import dashboard_users

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
OFF_NAME = "anybody"  # who is on record where sign-in is off


class Authentication(msgspec.Struct, kw_only=True):
    """How people come in."""

    control: AdminChanges
    sessions: Sessions
    public_url: str = ""
    sign_in: bool = True  # off: everybody is admin of everything, on the loopback only
    proxy_header: str = ""  # bears a user's name, from `trusted` only
    trusted: Sequence[Network] = ()
    proxies: Sequence[Network] = ()  # whose X-Forwarded-For is believed

    @property
    def secure(self) -> bool:
        """Whether browsers reach it over TLS."""
        return self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Its name; one that no other host and no plain page can set, where browsers allow that."""
        return "__Host-metrion" if self.secure else "metrion"

    def set_cookie(self, response: web.StreamResponse, value: str) -> None:
        """A session's cookie, or with "" none any more."""
        response.set_cookie(
            self.cookie,
            value,
            max_age=int(ABSOLUTE.total_seconds()) if value else 0,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=self.secure,
        )

    def address(self, request: web.Request) -> str:
        """Where a request comes from: the last address in X-Forwarded-For that no trusted proxy has, else the peer."""
        address = request.remote or ""
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        while hops and _within(address, (*self.proxies, *self.trusted)):
            hop = hops.pop().strip()
            if not _is_address(hop):
                break
            address = hop
        return address

    async def person(self, request: web.Request) -> User | None:
        """Who asks; None when nobody is signed in. Unavailable when that cannot be known."""
        if not self.sign_in:
            return User(name=OFF_NAME, admin=True)
        name = request.headers.get(self.proxy_header, "").lower() if self.proxy_header else ""
        if name and self._is_trusted(request):
            return await self._proxied(name)
        found = await self.sessions.find(request.cookies.get(self.cookie, ""))
        return None if found is None else _user(found[0], session=found[1])

    async def _proxied(self, name: str) -> User | None:
        if dashboard_users.NAME_PATTERN.fullmatch(name) is None:
            return None
        try:
            found = await dashboard_users.get(self.control.js, name)
        except Failed:
            raise Unavailable(SIGN_IN_UNAVAILABLE) from None
        return None if found is None else _user(found[0])

    def _is_trusted(self, request: web.Request) -> bool:
        return bool(self.proxy_header) and _within(request.remote or "", self.trusted)


AUTHENTICATION = web.AppKey("door", Authentication)


@web.middleware
async def door(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through to its handler, with site.USER set, or say why not."""
    own = request.app[AUTHENTICATION]
    if not csrf.is_known_host(request.host, own.public_url):
        raise web.HTTPMisdirectedRequest(text="Unknown host name. Set METRION_DASHBOARD_URL to this dashboard's URL.")
    if csrf.is_foreign(
        request.method,
        request.headers,
        host=request.host,
        public_url=own.public_url,
        has_cookie=own.cookie in request.cookies or bool(own.proxy_header) or not own.sign_in,
    ):
        raise web.HTTPForbidden(text="Cross-site request blocked.")
    needed = routes.of(request)
    if needed in (None, Access.ANYBODY):  # None: 404 or 405, by the router
        return await handler(request)
    try:
        found = await own.person(request)
    except Unavailable as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    if found is None:
        return _turned_away(request)
    request[app_context.USER] = found
    if (needed is Access.ADMIN and not found.admin) or (needed is Access.OPERATOR and not found.operator):
        raise web.HTTPForbidden(text="You don't have permission to do that.")
    try:
        return await handler(request)
    except Unavailable as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    except Failed as error:
        log.warning("%s %s: %s", request.method, request.path, type(error).__name__)
        raise web.HTTPServiceUnavailable(
            text="NATS did not respond in time. The change may have been made: check before you try again."
        ) from None


def _user(user: dashboard_users.User, *, session: str = "") -> User:
    return User(
        name=user.name,
        account=user.account,
        admin=user.is_admin,
        session=session,
        tz=user.tz,
        currency=user.currency,
        has_password=bool(user.password),
    )


def _turned_away(request: web.Request) -> web.Response:
    """To the sign-in, and back here afterwards; a script's call, or a change, just learns that nobody is signed in."""
    document = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if request.method == "GET" and document and "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther(f"/signin?next={quote(request.path_qs, safe='')}")
    raise web.HTTPUnauthorized(text="Your session has expired. Reload and sign in.")


def _within(address: str, networks: Sequence[Network]) -> bool:
    if not networks or not _is_address(address):
        return False
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
