"""HTTP client for providers: pooled connections, timeouts, and errors explained."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, client_reqrep, hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.upstream import egress, http_call
from services.gateway.upstream.http_call import DirectResponse, NotSent, OutgoingBody, Timeouts
from services.gateway.upstream.idle_connections import IdleConnections
from services.gateway.upstream.provider_connection import (
    HEADER_LIMIT,
    MAX_HEADERS,
    READ_BUFFER,
    ProviderConnection,
    SessionConnection,
)
from shared import events

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_IDLE_SECONDS = 15  # for which a connection stays open without being used
_NO_HEADERS_OF_ITS_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class _RequestWriter(StreamWriter):
    """Writes heads byte for byte: aiohttp's own leaves out what is not UTF-8."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Buffer the head."""
        await super().write_headers(status_line, headers)
        if not "".join(headers.values()).isascii():
            self._headers_buf = http_call.serialize_raw(status_line, headers)


client_reqrep.StreamWriter = _RequestWriter  # type: ignore[attr-defined]  # a session cannot be given another one


def stop_timer(response: "UpstreamResponse") -> None:
    """Stop the first-byte timeout: from now on the idle watchdog finds silence."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = None
        connection.protocol._drop_timeout()  # it would run on until the next chunk


def time_out(response: "UpstreamResponse") -> None:
    """End a read from a provider that has gone silent."""
    response.content.set_exception(TimeoutError("silent"))
    if isinstance(response, DirectResponse):
        response.notify()


def _nothing() -> None:
    pass


UpstreamResponse = DirectResponse | aiohttp.ClientResponse  # with the same interface, as far as the relay uses it


class UpgradedConnection(NamedTuple):
    """Connection to a provider that has accepted an upgrade."""

    protocol: ResponseHandler
    transport: asyncio.Transport

    @classmethod
    def of(cls, response: aiohttp.ClientResponse) -> "UpgradedConnection":
        """Take the connection of a 101; ClientError if it is gone already."""
        connection = response.connection
        protocol = None if connection is None else connection.protocol
        if protocol is None or protocol.transport is None:
            raise aiohttp.ServerDisconnectedError
        protocol.read_timeout = None
        return cls(protocol, protocol.transport)


class _Origin(NamedTuple):
    """What is needed to call an origin."""

    target: ClientRequest  # tells aiohttp's connector where to connect to
    prefix: str  # path that comes before that of each request
    proxy: URL | None
    idle: IdleConnections


class Upstream:
    """Client for providers, over aiohttp's connections.

    A buffered request is written directly to a pooled connection and parsed by aiohttp's own protocol: aiohttp's
    session adds redirects, cookies, encodings and authentication, which a proxy must not have, for a fifth of a
    request's CPU. Requests through an outbound proxy use the session.

    So do streamed uploads, over a fresh connection: a pooled one may have died while it was idle, which shows only
    after a part of the body is gone that cannot be sent again.
    """

    def __init__(self, settings: Settings) -> None:
        context = egress.context(settings.ca_file)
        self._connector = TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, ttl_dns_cache=60, ssl=context)
        self._connector._factory = partial(ProviderConnection, loop=self._connector._loop)  # type: ignore[assignment]
        proxied = TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, ttl_dns_cache=60, ssl=context)
        fresh = TCPConnector(limit=0, force_close=True, ttl_dns_cache=60, ssl=context)
        for connector in (proxied, fresh):
            connector._factory = partial(SessionConnection, loop=connector._loop)  # type: ignore[assignment]
        self._proxy_setting = settings.outbound_proxy
        self._timeout = ClientTimeout(
            total=None, connect=settings.connect_timeout, sock_read=settings.first_byte_timeout, ceil_threshold=3600
        )
        self._timeouts = Timeouts(settings.first_byte_timeout, settings.idle_timeout)
        self._session = self._new_session(proxied)
        self._uploads = self._new_session(fresh)
        self._origins: dict[str, _Origin] = {}

    async def close(self) -> None:
        """Close all connections."""
        for known in self._origins.values():
            known.idle.close()
        await self._connector.close()
        await self._session.close()
        await self._uploads.close()

    async def call(
        self,
        method: str,
        origin: str,
        path: str,
        *,
        headers: CIMultiDict[str],
        has_raw_bytes: bool = False,
        body: Any,
        sent: Callable[[], None] = _nothing,
    ) -> UpstreamResponse:
        """Send a request and return its response as soon as the head has arrived.

        `path`: from the slash on, with query, exactly as to be sent. `body`: bytes, pieces of it, None, or an async
        iterator of bytes. `has_raw_bytes`: headers have lone surrogates for bytes that are not UTF-8. `sent` is called
        when the body is no longer needed, possibly long before the response begins.
        Raises aiohttp.ClientError, TimeoutError or OSError.
        """
        known = self._origins.get(origin) or self._prepare(origin)
        headers[hdrs.HOST] = known.target.headers[hdrs.HOST]
        streams = _is_streamed(body)
        if known.proxy is not None or streams:
            body = b"".join(body) if isinstance(body, tuple) else body
            session = self._uploads if streams else self._session
            return await session.request(
                method,
                URL(origin + path, encoded=True),
                headers=_with_uniform_case(headers),
                data=body,
                allow_redirects=False,
                proxy=known.proxy,
            )
        outgoing = OutgoingBody(body or b"", repeatable=method in _IDEMPOTENT, sent=sent)
        del body
        while True:
            reused = known.idle.take()
            connection = reused or await self._connect(known.target)
            try:
                return await http_call.send(
                    connection,
                    method,
                    f"{known.prefix}{path}",
                    headers=headers,
                    has_raw_bytes=has_raw_bytes,
                    body=outgoing,
                    timeouts=self._timeouts,
                    idle=known.idle,
                )
            except BaseException as error:
                connection.close()
                if reused is None or not _may_repeat(error, method):
                    raise

    async def upgrade(self, origin: str, path: str, *, headers: CIMultiDict[str]) -> aiohttp.ClientResponse:
        """Send an upgrade request, and return once the response's head has arrived.

        Raises like `call`.
        """
        known = self._origins.get(origin) or self._prepare(origin)
        headers[hdrs.HOST] = known.target.headers[hdrs.HOST]
        return await self._uploads.request(
            "GET",
            URL(origin + path, encoded=True),
            headers=_with_uniform_case(headers),
            allow_redirects=False,
            proxy=known.proxy,
            read_until_eof=False,
        )

    async def _connect(self, target: ClientRequest) -> Connection:
        try:
            return await self._connector.connect(target, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {target.url.origin()} in time") from error

    def _new_session(self, connector: TCPConnector) -> ClientSession:
        return ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
            trust_env=False,  # reading the environment would cost each request 240 µs
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            max_headers=MAX_HEADERS,
            read_bufsize=READ_BUFFER,
        )

    def _prepare(self, origin: str) -> _Origin:
        """Prepare what is needed to call an origin; done once per origin."""
        target = ClientRequest("GET", URL(origin), loop=self._connector._loop)
        proxy = egress.proxy_for(origin, setting=self._proxy_setting, environ=os.environ)
        idle = IdleConnections(seconds=_IDLE_SECONDS)
        known = self._origins[origin] = _Origin(target, target.url.raw_path.rstrip("/"), proxy, idle)
        return known


def _is_streamed(body: Any) -> bool:
    return not (body is None or isinstance(body, bytes | tuple))


def _may_repeat(error: BaseException, method: str) -> bool:
    """Whether to send a request again that failed on a reused connection.

    Providers close idle connections at any moment. It is sent again only if nothing of a response arrived, and if
    nothing of the request was sent or repeating it is harmless: a completion may be billed twice.
    """
    if isinstance(error, NotSent):
        return True
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return method in _IDEMPOTENT and isinstance(error.message, str)  # else it is a part of a response
    return method in _IDEMPOTENT and isinstance(error, aiohttp.ClientOSError | ConnectionError)


def _with_uniform_case(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Spell repeated headers like the first one: the session keeps one of two that differ in case."""
    spelled: CIMultiDict[str] = CIMultiDict()
    names: dict[str, str] = {}
    for name, value in headers.items():
        spelled.add(names.setdefault(name.lower(), name), value)
    return spelled


def explain(error: BaseException, provider: str) -> tuple[Refusal, str]:
    """Explain a failure before the first byte: (refusal, outcome of the row)."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Refusal(504, "connect_timeout", f"Connecting to {provider} timed out; try again."), events.TIMEOUT
    if isinstance(error, TimeoutError):
        return Refusal(504, "first_byte_timeout", f"{provider} did not respond in time; try again."), events.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return Refusal(502, "unreachable", f"{provider} cannot be reached; try again."), events.UPSTREAM_ERROR
    message = f"{provider} closed the connection or sent invalid HTTP; try again."
    return Refusal(502, "protocol_error", message), events.UPSTREAM_ERROR
