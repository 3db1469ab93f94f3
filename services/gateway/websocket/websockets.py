"""WebSocket connections: accepts upgrades, connects to providers, relays."""

import asyncio
import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple
from urllib.parse import parse_qs

import aiohttp
import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict

from services.gateway.admission import Admission
from services.gateway.context import RequestContext
from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.relay import Relay
from services.gateway.request import (
    credentials,
    google_query,
    header_names,
    headers,
    params,
    permissions,
    provider_keys,
)
from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.credentials import TokenSource
from services.gateway.request.errors import Refusal
from services.gateway.request.routing import Route
from services.gateway.settings import Settings
from services.gateway.upstream import response_headers
from services.gateway.upstream.client import UpgradedConnection, Upstream, explain
from services.gateway.websocket import handshake
from services.gateway.websocket.connections import Connections
from services.gateway.websocket.handshake import Upgrade
from services.gateway.websocket.live_protocol import LiveProtocol
from services.gateway.websocket.open_responses import Accounting, OpenResponses
from services.gateway.websocket.peer import Peer
from services.gateway.websocket.protocol import WireProtocol
from services.gateway.websocket.realtime_protocol import RealtimeProtocol
from services.gateway.websocket.responses_protocol import ResponsesProtocol
from services.gateway.websocket.session import Session
from shared import events
from shared.accounts_admin import TOKEN_PREFIX
from shared.accounts_model import Token
from shared.events import Envelope
from shared.free_endpoints import WEBSOCKET
from shared.providers import GEMINI_API, OPENAI_API, canonical

_OFF = "WebSockets are not relayed for this endpoint; use the HTTP API."


class _Api(NamedTuple):
    """An API over WebSockets that the gateway understands."""

    api: str  # of the provider
    path: re.Pattern[str]
    wire: Callable[[str], WireProtocol]
    model_in_url: bool  # the upgrade's URL names the model


_APIS = (
    _Api(OPENAI_API, re.compile(r"/responses$"), ResponsesProtocol, model_in_url=False),
    _Api(OPENAI_API, re.compile(r"/realtime$"), RealtimeProtocol, model_in_url=True),
    _Api(GEMINI_API, re.compile(r"\.BidiGenerateContent$"), LiveProtocol, model_in_url=False),
)


class WebSockets:
    """All WebSocket connections of this gateway."""

    def __init__(
        self,
        settings: Settings,
        *,
        accounting: Accounting,
        directory: TokenSource,
        upstream: Upstream,
        relay: Relay,
        bodies: BodyBudget,
        admission: Admission,
        find_route: Callable[..., Route | None],
    ) -> None:
        self._settings = settings
        self._accounting = accounting
        self._directory = directory
        self._upstream = upstream
        self._relay = relay
        self._bodies = bodies
        self._admission = admission
        self._find_route = find_route
        self._enabled = frozenset(map(canonical, settings.websockets))
        self.connections = Connections(
            idle=settings.websocket_idle_timeout,
            age=settings.websocket_max_seconds,
            stalled=settings.first_byte_timeout,
        )

    async def serve(self, ctx: RequestContext) -> web.StreamResponse:
        """Serve one upgrade request and its connection; Refusal if it is not accepted."""
        api, upgrade = self._accept(ctx)
        ctx.headers.update(upgrade.headers())
        origin, path = self._relay.prepare(ctx)
        try:
            upstream_response = await self._upstream.upgrade(origin, path, headers=ctx.headers)
        except asyncio.CancelledError:
            ctx.exchange.finish(events.CLIENT_CLOSED, status=499)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._fail(ctx, error) from error
        try:
            if upstream_response.status != 101:
                ctx.exchange.upstream = True
                return await self._relay.relay(ctx, upstream_response)
            return await self._connect(ctx, api, upgrade, upstream_response)
        finally:
            upstream_response.close()

    def _accept(self, ctx: RequestContext) -> tuple[_Api, Upgrade]:
        """Read, authenticate and check an upgrade request."""
        request = ctx.request
        path, _, query = request.raw_path.partition("?")
        if "#" in query:
            raise Refusal(400, "malformed_path", "A request target must not contain a fragment (#); percent-encode it.")
        upgrade = handshake.read(request)
        kept = [
            (name, value)
            for name, value in zip(header_names.split(request.raw_headers), request.headers.values(), strict=True)
            if not handshake.is_own_header(name[1])
        ]
        parsed, ctx.query = headers.read([name for name, _ in kept], [value for _, value in kept], query)
        for value in upgrade.credentials:
            if value not in parsed.credentials:
                parsed.credentials.append(value)
        if any(TOKEN_PREFIX in protocol for protocol in upgrade.protocols):
            parsed.misplaced = "Sec-WebSocket-Protocol"
        ctx.headers = parsed.forward
        ctx.identifying = parsed.identifying
        api = self._find_api(ctx, path, native_key=parsed.native_key)
        origin = request.headers.get(hdrs.ORIGIN, "")
        if origin and origin not in self._settings.cors_origins:
            raise Refusal(
                403, "origin_not_allowed", "This origin may not call the gateway; add it to METRION_CORS_ORIGINS."
            )
        google_query.check(ctx.route, ctx.query)
        caller = ctx.caller = self._admission.authenticate(parsed, ctx.route)
        self._admission.read_metrion_headers(ctx, parsed)
        ctx.exchange = self._admission.new_exchange(ctx)
        if caller.token is not None:
            permissions.check_upgrade(ctx, caller.token, names_model=api.model_in_url)
        if ctx.route.provider.key_header and not caller.provider_key:
            raise provider_keys.missing(ctx.route.provider)
        if self.connections.is_draining:
            raise Refusal(503, "restarting", "This gateway is stopping; connect again.", retry_after=1)
        return api, upgrade

    def _find_api(self, ctx: RequestContext, path: str, *, native_key: bool) -> _Api:
        """Set the route; Refusal 426 for an endpoint that is not relayed, so that clients fall back to HTTP."""
        route = self._find_route(path, native_key=native_key)
        if route is None:
            raise Refusal(426, "websocket", _OFF)
        ctx.route = route
        found = next((api for api in _APIS if api.api == route.provider.api and api.path.search(route.path)), None)
        if found is None or route.provider.name not in self._enabled:
            raise Refusal(426, "websocket", _OFF)
        return found

    def _fail(self, ctx: RequestContext, error: BaseException) -> Refusal:
        refusal, outcome = explain(error, ctx.route.provider.name)
        exchange = ctx.exchange
        exchange.upstream = True
        exchange.finish(outcome, status=refusal.status, error_type=refusal.code, message=refusal.message)
        return refusal

    async def _connect(
        self, ctx: RequestContext, api: _Api, upgrade: Upgrade, upstream_response: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        """Answer the client's upgrade, and relay until the connection ends."""
        compression = handshake.accepted(upgrade, upstream_response.headers)
        if compression is None:
            raise self._fail(ctx, aiohttp.ClientPayloadError("the upgrade was not accepted as it was offered"))
        request = ctx.request
        connection = UpgradedConnection.of(upstream_response)
        client_connection = request.protocol
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client disconnected during the handshake")
        provider = Peer(connection.protocol, connection.transport)
        client = Peer(client_connection, transport)
        response = PassthroughResponse(
            status=101, reason="Switching Protocols", headers=self._head(ctx, upstream_response)
        )
        response._keep_alive = True
        await response.prepare(request)
        caller = ctx.caller
        account = caller.account
        responses = OpenResponses(
            self._accounting,
            self._envelope(ctx),
            secrets=caller.secrets,
            notes=partial(_notes, ctx.route),
            traceparent=ctx.exchange.traceparent,
            server=ctx.exchange.server,
        )
        session = Session(
            client=client,
            provider=provider,
            wire=api.wire(_model_in(ctx.query)),
            responses=responses,
            compression=compression,
            token=self._token_of(caller),
            max_message=self._settings.max_body_bytes,
            reservation=self._bodies.hold(account, 0),
        )
        try:
            client_connection.set_parser(client)  # type: ignore[arg-type]
            connection.protocol.set_parser(provider, provider)
            for peer, protocol in ((client, client_connection), (provider, connection.protocol)):
                if protocol.transport is None:
                    peer.feed_eof()  # it was gone before the parser was set
            await self.connections.relay(session)
        finally:
            provider.close()
            client.close()
            with contextlib.suppress(Exception):
                client_connection.force_close()
        return response

    def _head(self, ctx: RequestContext, upstream_response: aiohttp.ClientResponse) -> CIMultiDict[str]:
        """Headers of the client's 101: the provider's, and the connection's id."""
        given = CIMultiDict(upstream_response.headers)
        removed, _ = response_headers.sort(given)
        for name in (*removed, *(name for name in given if handshake.is_own_header(name.lower()))):
            given.popall(name, None)
        given.popall(hdrs.CONTENT_LENGTH, None)
        found = handshake.response_headers(upstream_response.headers)
        found.extend(given)
        found[header_names.REQUEST_ID] = ctx.id
        return found

    def _envelope(self, ctx: RequestContext) -> Envelope:
        return msgspec.structs.replace(
            ctx.exchange.envelope,
            endpoint=f"{WEBSOCKET} {ctx.route.endpoint}",
            connection=ctx.id,
            stream=True,
        )

    def _token_of(self, caller: credentials.Caller) -> Callable[[], Token | None]:
        """A function that returns the current record of a caller's token; Refusal 401 once it is invalid."""
        if caller.token is None:
            return lambda: None
        secret = next(one for one in caller.secrets if one.startswith(TOKEN_PREFIX))

        def current() -> Token | None:
            token = self._directory.find(secret)
            if token is None or token.revoked_at is not None:
                raise Refusal(401, "invalid_token", "This Metrion token was revoked.")
            if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
                raise Refusal(401, "expired_token", "This Metrion token has expired.")
            return token

        return current


def _notes(route: Route, body: bytes) -> dict[str, str]:
    """What affects the price of a response: in its parameters, and in where it is sent."""
    asked = params.read(body) if body else params.NOTHING
    notes = params.notes(asked, path=route.path, upstream=route.provider.upstream)
    if route.provider.stated_cost:
        notes["stated_cost"] = "true"
    return notes


def _model_in(query: str) -> str:
    """The model that an upgrade's URL names; "" for none."""
    return parse_qs(query).get("model", [""])[-1][:256]
