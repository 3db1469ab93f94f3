"""Authentication of requests, with checks of host, origin and permission."""

import ipaddress
import logging
from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web

from services.dashboard import app_context
from services.dashboard.app_context import User
from services.dashboard.auth import csrf, proxy_tokens, routes
from services.dashboard.auth.api_keys import API_ACCESS, is_bearer
from services.dashboard.auth.proxy_tokens import TOKEN_ACCESS
from services.dashboard.auth.routes import Access
from services.dashboard.auth.sessions import ABSOLUTE, Sessions
from services.dashboard.metrics import Handler
from services.dashboard.nats_connection import NATS_ERRORS, SIGN_IN_UNAVAILABLE, NatsConnection, Unavailable
from shared import dashboard_users

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
KEY_NEEDED = (
    "Send an API key: Authorization: Bearer sk-metrion-api-… (made by `metrion api-key create`, or on Settings)."
)
OFF_NAME = "anybody"  # user in the audit log while sign-in is off


class Authentication(msgspec.Struct, kw_only=True):
    """How users are authenticated: session cookie, proxy header, or not at all."""

    nats: NatsConnection
    sessions: Sessions
    public_url: str = ""
    sign_in: bool = True  # off: everybody is admin of all accounts; allowed on loopback only
    proxy_header: str = ""  # has the user's name; accepted from `trusted` only
    trusted: Sequence[Network] = ()
    proxies: Sequence[Network] = ()  # whose X-Forwarded-For is trusted

    @property
    def secure(self) -> bool:
        """Whether browsers connect over TLS."""
        return self.public_url.startswith("https://")

    @property
    def cookie(self) -> str:
        """Name of the session cookie; over TLS with a prefix that protects it."""
        return "__Host-metrion" if self.secure else "metrion"

    def set_cookie(self, response: web.StreamResponse, value: str) -> None:
        """Set the session cookie, or delete it with ""."""
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
        """Return the client address: the last hop that is not a trusted proxy."""
        address = request.remote or ""
        hops = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        while hops and _within(address, (*self.proxies, *self.trusted)):
            hop = hops.pop().strip()
            if not _is_address(hop):
                break
            address = hop
        return address

    async def current_user(self, request: web.Request) -> User | None:
        """Return the signed-in user, or None; Unavailable while NATS is unreachable."""
        if not self.sign_in:
            return User(name=OFF_NAME, admin=True)
        name = request.headers.get(self.proxy_header, "").lower() if self.proxy_header else ""
        if name and self._is_trusted(request):
            return await self._proxied(name)
        session = await self.sessions.find(request.cookies.get(self.cookie, ""))
        return None if session is None else _user(session[0], session=session[1])

    async def _proxied(self, name: str) -> User | None:
        if dashboard_users.NAME_PATTERN.fullmatch(name) is None:
            return None
        try:
            entry = await dashboard_users.get(self.nats.js, name)
        except NATS_ERRORS:
            raise Unavailable(SIGN_IN_UNAVAILABLE) from None
        return None if entry is None else _user(entry[0])

    def _is_trusted(self, request: web.Request) -> bool:
        return bool(self.proxy_header) and _within(request.remote or "", self.trusted)


AUTHENTICATION = web.AppKey("authentication", Authentication)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set app_context.USER and call the handler, or reject the request."""
    auth = request.app[AUTHENTICATION]
    if request.path.startswith(routes.OF_API) and is_bearer(request):
        return await _with_api_key(request, handler, address=auth.address(request))
    if not csrf.is_known_host(request.host, auth.public_url):
        raise web.HTTPMisdirectedRequest(text="Unknown host name. Set METRION_DASHBOARD_URL to this dashboard's URL.")
    if csrf.is_cross_site(
        request.method,
        request.headers,
        host=request.host,
        public_url=auth.public_url,
        has_cookie=auth.cookie in request.cookies or bool(auth.proxy_header) or not auth.sign_in,
    ):
        raise web.HTTPForbidden(text="Cross-site request blocked.")
    needed = routes.required_access(request)
    if needed in (None, Access.ANYBODY):  # None: 404 or 405, by the router
        return await handler(request)
    try:
        user = await auth.current_user(request)
    except Unavailable as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    if user is not None and request.path.startswith(routes.OF_API) and request.method not in csrf.SAFE:
        raise web.HTTPUnauthorized(text=KEY_NEEDED, headers={"WWW-Authenticate": "Bearer"})
    if user is None:
        return _redirect_to_sign_in(request)
    return await _as_user(request, handler, user, needed)


async def _with_api_key(request: web.Request, handler: Handler, *, address: str) -> web.StreamResponse:
    """Handle a request with an API key, which no browser sends by itself: any host name is served."""
    needed = routes.required_access(request)
    if needed in (None, Access.ANYBODY):
        return await handler(request)
    authorization = request.headers["Authorization"]
    if proxy_tokens.is_token(authorization):
        user = await _token_holder(request, authorization, address=address)
    else:
        user = request.app[API_ACCESS].user(authorization, address=address)
    return await _as_user(request, handler, user, needed)


async def _token_holder(request: web.Request, authorization: str, *, address: str) -> User:
    if not routes.is_open_to_tokens(request):
        raise web.HTTPForbidden(text=proxy_tokens.ONLY_OWN)
    try:
        return await request.app[TOKEN_ACCESS].user(authorization, address=address)
    except Unavailable as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None


async def _as_user(request: web.Request, handler: Handler, user: User, needed: Access | None) -> web.StreamResponse:
    request[app_context.USER] = user
    if needed is None or not app_context.may(needed, user):
        raise web.HTTPForbidden(text="You don't have permission to do that.")
    try:
        return await handler(request)
    except Unavailable as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    except NATS_ERRORS as error:
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
        created_at=user.created_at,
    )


def _redirect_to_sign_in(request: web.Request) -> web.Response:
    """Redirect page loads to the sign-in page; 401 for scripts and changes."""
    if request.path.startswith(routes.OF_API):
        raise web.HTTPUnauthorized(text=KEY_NEEDED, headers={"WWW-Authenticate": "Bearer"})
    document = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if request.method == "GET" and document and "text/html" in request.headers.get("Accept", ""):
        raise web.HTTPSeeOther(f"/signin?next={quote(request.path_qs, safe='')}")
    raise web.HTTPUnauthorized(text="Your session has expired. Reload and sign in.")


def _within(address: str, networks: Sequence[Network]) -> bool:
    if not networks or not _is_address(address):
        return False
    ip = ipaddress.ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
