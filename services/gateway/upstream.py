"""The way to the providers: one session, its timeouts, and what its failures mean to a client."""

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from services.gateway.errors import Refusal
from services.gateway.settings import Settings
from shared import contract

_HEADER_LIMIT = 64 << 10
_NO_HEADERS_OF_ITS_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


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
        skip_auto_headers=_NO_HEADERS_OF_ITS_OWN,
        trust_env=False,  # reading the environment anew would cost each request 240 µs
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
        read_bufsize=256 << 10,
    )


def shorten_timeout(response: aiohttp.ClientResponse, seconds: float) -> None:
    """After the first byte the idle time counts, no longer the time to the first byte."""
    connection = response.connection
    if connection is not None and connection.protocol is not None:
        connection.protocol.read_timeout = seconds


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
