"""The way to the providers: pooled connections, timeouts, and what a failure means to a client."""

import os
from typing import Any

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, hdrs
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from aiohttp.streams import StreamReader
from multidict import CIMultiDict
from yarl import URL

from services.gateway import outbound
from services.gateway.errors import Refusal
from services.gateway.settings import Settings
from shared import contract

_HEADER_LIMIT = 64 << 10
_READ_BUFFER = 256 << 10
_INLINE = 32 << 10  # bytes of a body that are written with the head: a larger one may have to wait for the network
_NO_HEADERS_OF_ITS_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Reply:
    """A provider's answer whose head has come. `content` raises TimeoutError or aiohttp.ClientError when it breaks."""

    __slots__ = ("_connection", "content", "headers", "reason", "status")

    def __init__(self, message: RawResponseMessage, content: StreamReader, connection: Connection) -> None:
        self.status, self.reason, self.headers = message.code, message.reason, message.headers
        self.content = content
        self._connection: Connection | None = connection
        content.on_eof(self._release)

    @property
    def connection(self) -> Connection | None:
        """The connection as long as the answer comes over it."""
        return self._connection

    def close(self) -> None:
        """Break the connection off, unless the answer came to its end and gave it back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.release()
            self._connection = None


def stop_timer(answer: "Answered") -> None:
    """After the first byte the time to it counts no longer, and the idle time is watched without timers."""
    connection = answer.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = None


Answered = Reply | aiohttp.ClientResponse  # alike in all that the relay asks of them


class Upstream:
    """Calls providers over aiohttp's pool.

    A request with its body at hand is written straight onto a pooled connection and read by aiohttp's own protocol:
    aiohttp's session adds redirects, cookies, encodings and authentication, which a proxy must not have, for a fifth of
    the CPU of a request. A large or streaming body goes through the session, which writes it while it reads the answer,
    and so does what an outbound proxy stands before.
    """

    def __init__(self, settings: Settings) -> None:
        context = outbound.context(settings.ca_file)
        self._connector = TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=60, ssl=context)
        self._proxy_setting = settings.outbound_proxy
        self._timeout = ClientTimeout(
            total=None, connect=settings.connect_timeout, sock_read=settings.first_byte_timeout, ceil_threshold=3600
        )
        self._session = ClientSession(
            connector=self._connector,
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
            trust_env=False,  # reading the environment anew would cost each request 240 µs
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
            read_bufsize=_READ_BUFFER,
        )
        self._origins: dict[str, ClientRequest] = {}
        self._proxies: dict[str, URL | None] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def call(self, method: str, origin: str, path: str, *, headers: CIMultiDict[str], body: Any) -> Answered:
        """Send a request, return once the answer's head is here: or aiohttp.ClientError, TimeoutError, OSError.

        `path`: from the slash on, with query, as it stands. `body`: bytes, None, or an async iterator of bytes.
        """
        target = self._origins.get(origin)
        if target is None:
            target = self._target(origin)
        headers[hdrs.HOST] = target.headers[hdrs.HOST]
        proxy = self._proxies[origin]
        if proxy is not None or (body is not None and not (isinstance(body, bytes) and len(body) <= _INLINE)):
            url = URL(origin + path, encoded=True)
            # The session keeps only one of two names that differ in letter case.
            headers = CIMultiDict((name.title(), value) for name, value in headers.items())
            return await self._session.request(
                method, url, headers=headers, data=body, allow_redirects=False, proxy=proxy
            )
        try:
            connection = await self._connector.connect(target, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {origin} in time") from error
        try:
            return await self._send(connection, method, target, path=path, headers=headers, body=body)
        except BaseException:
            connection.close()
            raise

    def _target(self, origin: str) -> ClientRequest:
        """What is needed to connect to an origin, worked out once."""
        self._proxies[origin] = outbound.proxy_for(origin, setting=self._proxy_setting, environ=os.environ)
        target = self._origins[origin] = ClientRequest("GET", URL(origin), loop=self._connector._loop)
        return target

    async def _send(
        self,
        connection: Connection,
        method: str,
        target: ClientRequest,
        *,
        path: str,
        headers: CIMultiDict[str],
        body: bytes | None,
    ) -> Reply:
        protocol = connection.protocol
        assert protocol is not None
        protocol.set_response_params(
            timer=TimerNoop(),
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._timeout.sock_read,
            read_bufsize=_READ_BUFFER,
            max_line_size=_HEADER_LIMIT,
            max_field_size=_HEADER_LIMIT,
        )
        if body is not None or method in ("POST", "PUT", "PATCH"):
            headers[hdrs.CONTENT_LENGTH] = str(len(body or b""))
        prefix = target.url.raw_path.rstrip("/")
        writer = StreamWriter(protocol, self._connector._loop)
        await writer.write_headers(f"{method} {prefix}{path} HTTP/1.1", headers)
        protocol.start_timeout()
        await writer.write_eof(body or b"")
        while True:
            try:
                message, content = await protocol.read()
            except HttpProcessingError as error:
                raise aiohttp.ClientPayloadError(error.message) from error
            if message.code >= 200:
                return Reply(message, content, connection)


def explain(error: BaseException, provider: str) -> tuple[Refusal, str]:
    """What a failure before the first byte means: (answer to the client, outcome of the row)."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Refusal(504, "connect_timeout", f"No connection to {provider} in time; try again."), contract.TIMEOUT
    if isinstance(error, TimeoutError):
        return Refusal(504, "first_byte_timeout", f"{provider} sent no answer in time; try again."), contract.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return Refusal(502, "unreachable", f"{provider} cannot be reached; try again."), contract.UPSTREAM_ERROR
    message = f"{provider} broke off or sent no valid HTTP; try again."
    return Refusal(502, "protocol_error", message), contract.UPSTREAM_ERROR
