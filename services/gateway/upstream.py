"""The way to the providers: one session, its timeouts, and what its failures mean to a client."""

from collections.abc import Iterable

import aiohttp
from aiohttp import (
    BytesPayload,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from services.gateway.errors import Refusal
from services.gateway.settings import Settings
from shared import contract

_HEADER_LIMIT = 64 << 10
_NO_HEADERS_OF_ITS_OWN = CIMultiDict(
    (name, None) for name in ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
)
_INLINE = 32 << 10  # bytes of a body that are written at once: a larger one waits for the network in a task of its own


class Outgoing(ClientRequest):
    """aiohttp's request without what a proxy does not need: headers of its own, and a task for a body at hand."""

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add none."""
        self._skip_auto_headers = _NO_HEADERS_OF_ITS_OWN

    async def send(self, conn: Connection) -> ClientResponse:
        """As aiohttp sends, but a small body goes out in one write with the head."""
        body = self._body
        if type(body) is not BytesPayload or body.size is None or body.size > _INLINE or self.proxy is not None:
            return await super().send(conn)
        protocol = conn.protocol
        assert protocol is not None
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {self.url.raw_path_qs} HTTP/1.1", self.headers)
        protocol.start_timeout()
        await writer.write_eof(body._value)
        response = self.response_class(
            self.method,
            self.original_url,
            writer=None,
            continue100=None,
            timer=self._timer,
            request_info=self.request_info,
            traces=self._traces,
            loop=self.loop,
            session=self._session,
            stream_writer=writer,
        )
        # aiohttp declares the attribute as None, which it is at first
        self.response = response  # type: ignore[assignment]
        return response


def open_session(settings: Settings) -> ClientSession:
    """The one session: no cookies, no decompression, no headers of its own; redirects are refused by each request."""
    return ClientSession(
        connector=TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=60),
        timeout=ClientTimeout(
            total=None,
            sock_connect=settings.connect_timeout,
            sock_read=settings.first_byte_timeout,
            ceil_threshold=3600,
        ),
        auto_decompress=False,
        cookie_jar=DummyCookieJar(),
        request_class=Outgoing,
        trust_env=False,  # reading the environment anew would cost each request 240 µs
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
        read_bufsize=256 << 10,
    )


def stop_timer(response: aiohttp.ClientResponse) -> None:
    """After the first byte the time to it counts no longer, and the idle time is watched without timers."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = None


def explain(error: BaseException, provider: str) -> tuple[Refusal, str]:
    """What a failure before the first byte means: (answer to the client, outcome of the row)."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Refusal(504, "connect_timeout", f"No connection to {provider} in time; try again."), contract.TIMEOUT
    if isinstance(error, TimeoutError):
        return Refusal(504, "first_byte_timeout", f"{provider} sent no answer in time; try again."), contract.TIMEOUT
    if isinstance(error, aiohttp.ClientConnectorError):
        return Refusal(502, "unreachable", f"{provider} cannot be reached; try again."), contract.UPSTREAM_ERROR
    return Refusal(
        502, "protocol_error", f"{provider} broke off or sent no valid HTTP; try again."
    ), contract.UPSTREAM_ERROR
