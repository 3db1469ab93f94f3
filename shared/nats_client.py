"""NATS connections: one way to connect, and checks of its settings."""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import nats
from nats.aio.client import Client

from shared import tls, urls

log = logging.getLogger(__name__)


async def connect(
    url: str, *, service: str, ca_file: str = "", on_reconnect: Callable[[], Awaitable[None]] | None = None
) -> Client:
    """A connection that never gives up. Blocks until a server is there: only a background task may wait.

    `url` is one nats:// or tls:// URL, or several of one cluster with commas between; ValueError, OSError as `check`.
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
    """Servers, user and password as `nats.connect` takes them; ValueError for a URL that is none.

    The library sends user and password of a URL as they stand there, so they are given decoded and apart from it. Where
    servers differ in them they stay in the URLs, and may hold nothing that is percent-encoded.
    """
    try:
        found = urls.parse(url, urls.NATS)
    except ValueError as error:
        raise ValueError(f"METRION_NATS_URL {error}") from None
    first = found[0]
    if any((part.user, part.password) != (first.user, first.password) for part in found):
        if "%" in url:
            raise ValueError("METRION_NATS_URL: servers with percent-encoded passwords must all have the same")
        return {"servers": [part.strip() for part in url.split(",") if part.strip()]}
    options: dict[str, Any] = {"servers": [_address(part) for part in found]}
    if first.password is not None:
        return options | {"user": first.user, "password": first.password}
    return options if first.user is None else options | {"token": first.user}


def _address(part: urls.Parts) -> str:
    host = f"[{part.host}]" if ":" in part.host else part.host
    return f"{part.scheme}://{host}:{part.port or 4222}"


def security(url: str, *, ca_file: str) -> ssl.SSLContext | None:
    """TLS where the URL or an authority asks for it; OSError (an SSLError too) for a bad file."""
    if not ca_file and "tls://" not in url:
        return None
    logging.getLogger("asyncio").addFilter(_no_eof_warning)
    return tls.context(ca_file)


def _no_eof_warning(record: logging.LogRecord) -> bool:
    """Hide a warning that asyncio prints whenever nats-py closes a TLS connection.

    nats-py upgrades a connection with `loop.start_tls` and a new stream protocol whose `connection_made` is never
    called. That protocol does not know that it is encrypted, and answers the end of the stream as a plain one would;
    asyncio warns of the answer and ignores it.
    """
    return not record.getMessage().startswith("returning true from eof_received()")


def check(url: str, *, ca_file: str) -> None:
    """ValueError or OSError where `connect` could never succeed."""
    target(url)
    security(url, ca_file=ca_file)
