"""NATS connections: one way to connect, and checks of its settings."""

import logging
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client

from shared import tls

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
        servers(url),
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


def servers(url: str) -> list[str]:
    """The servers of a cluster, each a URL; ValueError where there is none, or one of another kind."""
    found = [part.strip() for part in url.split(",") if part.strip()]
    if not found or any(urlsplit(one).scheme not in ("nats", "tls") or not urlsplit(one).hostname for one in found):
        raise ValueError("METRION_NATS_URL must be nats:// or tls://[user:password@]host:port, or several with commas")
    return found


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
    servers(url)
    security(url, ca_file=ca_file)
