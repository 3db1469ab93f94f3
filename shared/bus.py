"""NATS as Metrion uses it: one way to connect, and the streams and buckets that must be there."""

import logging
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from shared import contract, tls

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


async def provision(
    js: JetStreamContext, *, replicas: int = 1, max_bytes: int = 4 << 30, redeliver_after: float = 60.0
) -> None:
    """Create or update streams (events, audit) and buckets (accounts, people). Safe to call again and at once."""
    await ensure_stream(
        js,
        api.StreamConfig(
            name=contract.EVENTS_STREAM,
            subjects=[f"{contract.EVENTS_SUBJECT}.>"],
            retention=api.RetentionPolicy.LIMITS,  # a message deduplicated after its ack survives a restart only here
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_bytes=max_bytes,
            max_age=72 * 3600,
            duplicate_window=30 * 60,
            max_msg_size=8 << 20,
            compression=api.StoreCompression.S2,
            num_replicas=replicas,
        ),
    )
    await ensure_stream(
        js,
        api.StreamConfig(
            name=contract.DEAD_STREAM,
            subjects=[f"{contract.DEAD_SUBJECT}.>"],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD,
            max_bytes=1 << 28,
            max_msg_size=8 << 20,
            num_replicas=replicas,
        ),
    )
    await ensure_stream(
        js,
        api.StreamConfig(
            name=f"KV_{contract.ACCOUNTS_BUCKET}",
            subjects=[f"$KV.{contract.ACCOUNTS_BUCKET}.>"],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_msgs_per_subject=1,
            allow_direct=True,
            allow_rollup_hdrs=True,
            num_replicas=replicas,  # deleting single messages is allowed: what is left of a deleted key gets erased
        ),
    )
    await ensure_stream(
        js,
        api.StreamConfig(
            name=f"KV_{contract.DASHBOARD_BUCKET}",
            subjects=[f"$KV.{contract.DASHBOARD_BUCKET}.>"],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_bytes=64 << 20,  # some 100,000 sessions, each with an end of its own
            max_msg_size=16 << 10,
            max_msgs_per_subject=1,
            allow_direct=True,
            allow_rollup_hdrs=True,
            allow_msg_ttl=True,
            num_replicas=replicas,
        ),
    )
    await ensure_stream(
        js,
        api.StreamConfig(
            name=contract.AUDIT_STREAM,
            subjects=[f"{contract.AUDIT_SUBJECT}.*"],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD,
            max_age=400 * 86400,
            max_bytes=256 << 20,
            max_msg_size=64 << 10,
            compression=api.StoreCompression.S2,
            num_replicas=replicas,
        ),
    )
    await js.add_consumer(
        contract.EVENTS_STREAM,
        api.ConsumerConfig(
            durable_name=contract.LOGGER_CONSUMER,
            ack_policy=api.AckPolicy.EXPLICIT,  # ack-all on a shared durable lost events
            ack_wait=redeliver_after,
            max_ack_pending=2000,
            max_deliver=-1,
        ),
    )


async def ensure_stream(js: JetStreamContext, config: api.StreamConfig) -> None:
    """Create or update one stream. Safe to call again and by several at once."""
    assert config.name
    try:
        existing = (await js.stream_info(config.name)).config
        config.deny_delete = existing.deny_delete  # cannot be taken back
        await js.update_stream(config)
    except NotFoundError:
        await js.add_stream(config)
