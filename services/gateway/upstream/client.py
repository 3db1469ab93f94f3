"""The way to the providers: pooled connections, timeouts, and what a failure means to a client."""

import os
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs
from multidict import CIMultiDict
from yarl import URL

from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.upstream import egress, http_call
from services.gateway.upstream.http_call import (
    HEADER_LIMIT,
    READ_BUFFER,
    DirectResponse,
    NotSent,
    OutgoingBody,
    Timeouts,
)
from shared import events

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_NO_HEADERS_OF_ITS_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


def stop_timer(answer: "UpstreamResponse") -> None:
    """After the first byte the time to it counts no longer, and the idle time is watched without timers."""
    connection = answer.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = None


def _nothing() -> None:
    pass


UpstreamResponse = DirectResponse | aiohttp.ClientResponse  # alike in all that the relay asks of them


class Upstream:
    """Calls providers over aiohttp's pool.

    A request with its body at hand is written straight onto a pooled connection and read by aiohttp's own protocol:
    aiohttp's session adds redirects, cookies, encodings and authentication, which a proxy must not have, for a fifth of
    the CPU of a request. What an outbound proxy stands before goes through the session.

    So does a body that streams through, over a fresh connection: a pooled one may have died while it was idle, which
    shows only when part of the body is gone that cannot be sent again.
    """

    def __init__(self, settings: Settings) -> None:
        context = egress.context(settings.ca_file)
        self._connector = TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=60, ssl=context)
        fresh = TCPConnector(limit=0, force_close=True, ttl_dns_cache=60, ssl=context)
        self._proxy_setting = settings.outbound_proxy
        self._timeout = ClientTimeout(
            total=None, connect=settings.connect_timeout, sock_read=settings.first_byte_timeout, ceil_threshold=3600
        )
        self._timeouts = Timeouts(settings.first_byte_timeout, settings.idle_timeout)
        self._session = self._new_session(self._connector)
        self._uploads = self._new_session(fresh)
        self._origins: dict[str, ClientRequest] = {}
        self._proxies: dict[str, URL | None] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
        await self._uploads.close()

    async def call(
        self,
        method: str,
        origin: str,
        path: str,
        *,
        headers: CIMultiDict[str],
        body: Any,
        sent: Callable[[], None] = _nothing,
    ) -> UpstreamResponse:
        """Send a request, return once the answer's head is here: or aiohttp.ClientError, TimeoutError, OSError.

        `path`: from the slash on, with query, as it stands. `body`: bytes, None, or an async iterator of bytes.
        `sent` is called when the body is no longer needed, which may be long before the answer begins.
        """
        target = self._origins.get(origin)
        if target is None:
            target = self._target(origin)
        headers[hdrs.HOST] = target.headers[hdrs.HOST]
        proxy = self._proxies[origin]
        streams = not (body is None or isinstance(body, bytes))
        if proxy is not None or streams:
            session = self._uploads if streams else self._session
            return await session.request(
                method,
                URL(origin + path, encoded=True),
                headers=_spelled_alike(headers),
                data=body,
                allow_redirects=False,
                proxy=proxy,
            )
        outgoing = OutgoingBody(body or b"", repeatable=method in _IDEMPOTENT, sent=sent)
        del body
        while True:
            try:
                connection = await self._connector.connect(target, traces=[], timeout=self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"no connection to {origin} in time") from error
            protocol = connection.protocol
            reused = protocol is not None and protocol._parser is not None
            try:
                return await http_call.send(
                    connection, method, target, path=path, headers=headers, body=outgoing, timeouts=self._timeouts
                )
            except BaseException as error:
                connection.close()
                if not (reused and _may_repeat(error, method)):
                    raise

    def _new_session(self, connector: TCPConnector) -> ClientSession:
        return ClientSession(
            connector=connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
            trust_env=False,  # reading the environment anew would cost each request 240 µs
            max_line_size=HEADER_LIMIT,
            max_field_size=HEADER_LIMIT,
            read_bufsize=READ_BUFFER,
        )

    def _target(self, origin: str) -> ClientRequest:
        """What is needed to connect to an origin, worked out once."""
        self._proxies[origin] = egress.proxy_for(origin, setting=self._proxy_setting, environ=os.environ)
        target = self._origins[origin] = ClientRequest("GET", URL(origin), loop=self._connector._loop)
        return target


def _may_repeat(error: BaseException, method: str) -> bool:
    """Whether a request that failed on a kept connection is sent again on another one.

    Providers close idle connections at any moment. Nothing of an answer came, and nothing of the request went out or
    doing it twice does no more than doing it once: a completion may be billed twice.
    """
    if isinstance(error, NotSent):
        return True
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return method in _IDEMPOTENT and isinstance(error.message, str)  # else it is what came of an answer
    return method in _IDEMPOTENT and isinstance(error, aiohttp.ClientOSError | ConnectionError)


def _spelled_alike(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Headers of which repeats are spelled as the first: the session keeps one of two that differ in letter case."""
    spelled: CIMultiDict[str] = CIMultiDict()
    names: dict[str, str] = {}
    for name, value in headers.items():
        spelled.add(names.setdefault(name.lower(), name), value)
    return spelled


def explain(error: BaseException, provider: str) -> tuple[Refusal, str]:
    """What a failure before the first byte means: (answer to the client, outcome of the row)."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Refusal(504, "connect_timeout", f"No connection to {provider} in time; try again."), events.TIMEOUT
    if isinstance(error, TimeoutError):
        return Refusal(504, "first_byte_timeout", f"{provider} sent no answer in time; try again."), events.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return Refusal(502, "unreachable", f"{provider} cannot be reached; try again."), events.UPSTREAM_ERROR
    message = f"{provider} broke off or sent no valid HTTP; try again."
    return Refusal(502, "protocol_error", message), events.UPSTREAM_ERROR
