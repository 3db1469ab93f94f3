"""NATS connections and checks of their settings."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import nats.aio.client
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from shared import tls, urls

log = logging.getLogger(__name__)
_CLOSE_SECONDS = 2.0


class _Transport(TcpTransport):
    """nats-py's transport, which waits for the end of a connection, but not for ever.

    Of a connection that is lost during its TLS handshake, asyncio tells nobody that it has ended: `connect` would never
    try again.
    """

    async def wait_closed(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await super().wait_closed()  # type: ignore[no-untyped-call]


nats.aio.client.TcpTransport = _Transport  # type: ignore[attr-defined]


async def connect(
    url: str, *, service: str, ca_file: str = "", on_reconnect: Callable[[], Awaitable[None]] | None = None
) -> Client:
    """Connect with endless retries; await it only in a background task.

    `url` is one nats:// or tls:// URL, or several of a cluster, comma-separated. Raises ValueError or OSError like
    `check`.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats: %s", type(error).__name__)  # an exception raised here would end the read loop

    async def reconnected() -> None:
        log.info("nats: reconnected")
        if on_reconnect:
            await on_reconnect()

    return await nats.connect(
        **target(url),
        tls=security(url, ca_file=ca_file),
        name=f"metrion-{service}",
        inbox_prefix=f"_INBOX_{service}".encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        pending_size=16 << 20,
        allow_reconnect=True,
        error_cb=on_error,
        reconnected_cb=reconnected,
    )


def target(url: str) -> dict[str, Any]:
    """Servers and credentials as arguments of `nats.connect`; ValueError if invalid.

    nats-py does not decode credentials in a URL, so they are decoded and passed separately. If servers have different
    credentials these stay in the URLs, and must not be percent-encoded.
    """
    try:
        servers = urls.parse(url, urls.NATS)
    except ValueError as error:
        raise ValueError(f"METRION_NATS_URL {error}") from None
    first = servers[0]
    if any((server.user, server.password) != (first.user, first.password) for server in servers):
        if "%" in url:
            raise ValueError("METRION_NATS_URL: percent-encoded passwords must be the same for all servers")
        return {"servers": [part.strip() for part in url.split(",") if part.strip()]}
    options: dict[str, Any] = {"servers": [_address(server) for server in servers]}
    if first.password is not None:
        return options | {"user": first.user, "password": first.password}
    return options if first.user is None else options | {"token": first.user}


def _address(part: urls.Parts) -> str:
    host = f"[{part.host}]" if ":" in part.host else part.host
    return f"{part.scheme}://{host}:{part.port or 4222}"


def security(url: str, *, ca_file: str) -> ssl.SSLContext | None:
    """TLS context if the URL or `ca_file` requires one; OSError for an invalid file."""
    if not ca_file and "tls://" not in url:
        return None
    logging.getLogger("asyncio").addFilter(_no_eof_warning)
    return tls.context(ca_file)


def _no_eof_warning(record: logging.LogRecord) -> bool:
    """Filter out a warning that asyncio logs whenever nats-py closes a TLS connection.

    nats-py upgrades a connection with `loop.start_tls` and a new stream protocol whose `connection_made` is never
    called. The protocol does not know that it is encrypted and returns True from `eof_received`; asyncio logs a warning
    and ignores the value.
    """
    return not record.getMessage().startswith("returning true from eof_received()")


def check(url: str, *, ca_file: str) -> None:
    """Raise ValueError or OSError if `connect` can never succeed."""
    target(url)
    security(url, ca_file=ca_file)
