"""Configuration of Metrion's NATS streams, key-value buckets and consumers.

Only the provisioning job creates or changes them, as the separate user `provision`: permission to change a stream
allows republishing into any subject, such as a token into the accounts bucket. Services wait until they exist.
"""

import asyncio
import logging
from datetime import UTC, datetime

import msgspec
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from shared import accounts_kv, cache_protocol, events, version
from shared.accounts_model import INSTALLATION_KEY, Installation
from shared.alerts.model import ALERTS_BUCKET, ALERTS_STREAM
from shared.limits.model import RATE_STREAM, RATE_SUBJECT
from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT
from shared.pricing import versions as price_versions

log = logging.getLogger(__name__)

Failed = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
POLL_SECONDS = 0.25


async def provision(
    js: JetStreamContext,
    *,
    replicas: int = 1,
    max_bytes: int = 4 << 30,
    cache_max_bytes: int = 1 << 30,
    redeliver_after: float = 60.0,
) -> None:
    """Create or update everything; idempotent and safe to call concurrently."""
    for config in (
        _events(max_bytes),
        _dead(),
        _accounts(),
        _people(),
        _audit(),
        _cache(cache_max_bytes, replicas=replicas),
        _leases(replicas=replicas),
        _rate(replicas=replicas),
        _spend(),
        _alerts(),
        _prices(),
    ):
        config.num_replicas = replicas
        await _ensure(js, config)
    await _mark_new_installation(js)
    await js.add_consumer(
        events.EVENTS_STREAM,
        api.ConsumerConfig(
            durable_name=events.LOGGER_CONSUMER,
            ack_policy=api.AckPolicy.EXPLICIT,  # ack-all on a shared durable consumer lost events
            ack_wait=redeliver_after,
            max_ack_pending=2000,
            max_deliver=-1,
        ),
    )


async def _mark_new_installation(js: JetStreamContext) -> None:
    """Write when this installation began, if nothing was ever written to the accounts bucket."""
    if not (await js.stream_info(accounts_kv.STREAM)).state.last_seq:
        installation = Installation(datetime.now(UTC), version.VERSION)
        await accounts_kv.put(js, INSTALLATION_KEY, msgspec.json.encode(installation), revision=0)


async def wait_for(js: JetStreamContext, *streams: str, consumer: str = "") -> None:
    """Wait until the streams, and a consumer of the first, exist; logs the wait once."""
    is_logged = False
    while True:
        try:
            for stream in streams:
                await js.stream_info(stream)
            if consumer:
                await js.consumer_info(streams[0], consumer)
            return
        except Failed as error:
            if not is_logged:
                log.warning(
                    "waiting for the streams %s, which `python -m services.logger --provision` creates: %s",
                    ", ".join(streams),
                    type(error).__name__,
                )
            is_logged = True
            await asyncio.sleep(POLL_SECONDS)


def _events(max_bytes: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=events.EVENTS_STREAM,
        subjects=[f"{events.EVENTS_SUBJECT}.>"],
        retention=api.RetentionPolicy.LIMITS,  # acknowledged messages stay, so deduplication survives a restart
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=max_bytes,
        max_age=72 * 3600,
        duplicate_window=30 * 60,
        max_msg_size=8 << 20,
        compression=api.StoreCompression.S2,
    )


def _dead() -> api.StreamConfig:
    return api.StreamConfig(
        name=events.DEAD_STREAM,
        subjects=[f"{events.DEAD_SUBJECT}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,  # a full stream refuses new dead letters instead of losing old ones
        max_bytes=1 << 28,
        max_msg_size=8 << 20,
    )


def _accounts() -> api.StreamConfig:
    return api.StreamConfig(
        name=f"KV_{events.ACCOUNTS_BUCKET}",
        subjects=[f"$KV.{events.ACCOUNTS_BUCKET}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        allow_direct=True,
        allow_rollup_hdrs=True,
        # deleting single messages is allowed, to erase deleted keys
    )


def _people() -> api.StreamConfig:
    return api.StreamConfig(
        name=f"KV_{events.DASHBOARD_BUCKET}",
        subjects=[f"$KV.{events.DASHBOARD_BUCKET}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=64 << 20,  # about 100,000 sessions, each with a ttl
        max_msg_size=16 << 10,
        max_msgs_per_subject=1,
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
    )


def _audit() -> api.StreamConfig:
    return api.StreamConfig(
        name=events.AUDIT_STREAM,
        subjects=[f"{events.AUDIT_SUBJECT}.*"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=400 * 86400,
        max_bytes=256 << 20,
        max_msg_size=64 << 10,
        compression=api.StoreCompression.S2,
    )


def _cache(max_bytes: int, *, replicas: int) -> api.StreamConfig:
    """Unlike a usual KV bucket, a full one evicts the oldest entries."""
    return api.StreamConfig(
        name=cache_protocol.STREAM,
        subjects=[cache_protocol.SUBJECT + ">"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_bytes=max_bytes,
        max_msgs_per_subject=1,
        max_msg_size=4 << 20,
        allow_direct=True,
        allow_msg_ttl=True,
        # No fsync per entry: 10,000 stores per second instead of 500, and no lookup waits for one. A killed server
        # loses its last milliseconds. Only with a single replica; replicated streams are flushed this way anyway.
        persist_mode=api.PersistMode.ASYNC if replicas == 1 else None,
    )


def _leases(*, replicas: int) -> api.StreamConfig:
    """On disk although leases last seconds: a restarted server forgets memory streams."""
    return api.StreamConfig(
        name=cache_protocol.LEASES_STREAM,
        subjects=[cache_protocol.LEASES_SUBJECT + ">"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_bytes=16 << 20,
        max_msgs_per_subject=1,
        max_msg_size=1024,
        allow_direct=True,
        allow_msg_ttl=True,
        persist_mode=api.PersistMode.ASYNC if replicas == 1 else None,  # no fsync either
    )


def _rate(*, replicas: int) -> api.StreamConfig:
    """Counters of the last minutes. On disk, so that a restarted server still knows what was used."""
    return api.StreamConfig(
        name=RATE_STREAM,
        subjects=[RATE_SUBJECT + ">"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=200,
        max_bytes=256 << 20,
        max_msgs_per_subject=1,
        max_msg_size=1024,
        duplicate_window=60,
        allow_msg_counter=True,
        persist_mode=api.PersistMode.ASYNC if replicas == 1 else None,  # requests wait for the counters
    )


def _spend() -> api.StreamConfig:
    """What is used of budgets, which the logger computes again whenever it is missing."""
    return api.StreamConfig(
        name=SPEND_STREAM,
        subjects=[SPEND_SUBJECT + ">"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=400 * 86400,
        max_bytes=512 << 20,
        max_msgs_per_subject=1,
        max_msg_size=16 << 10,
        allow_direct=True,
        allow_msg_ttl=True,
        allow_rollup_hdrs=True,
    )


def _alerts() -> api.StreamConfig:
    return api.StreamConfig(
        name=ALERTS_STREAM,
        subjects=[f"$KV.{ALERTS_BUCKET}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=128 << 20,
        max_msg_size=64 << 10,
        max_msgs_per_subject=1,
        allow_direct=True,
        allow_rollup_hdrs=True,
        allow_msg_ttl=True,
    )


def _prices() -> api.StreamConfig:
    return api.StreamConfig(
        name=price_versions.STREAM,
        subjects=[f"{price_versions.PREFIX}>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,  # the oldest versions of the prices go first
        max_msgs=price_versions.KEPT,
        max_msg_size=price_versions.MOST_BYTES,
        max_msgs_per_subject=1,
        allow_direct=True,
        allow_msg_ttl=True,
    )


async def _ensure(js: JetStreamContext, config: api.StreamConfig) -> None:
    """Create or update one stream; idempotent and safe to call concurrently."""
    assert config.name
    try:
        existing = (await js.stream_info(config.name)).config
    except NotFoundError:
        await js.add_stream(config)
        return
    if config.name == cache_protocol.LEASES_STREAM and existing.storage != config.storage:
        await js.delete_stream(config.name)  # from an earlier version, in memory; its leases last seconds
        await js.add_stream(config)
        return
    config.deny_delete = existing.deny_delete  # cannot be unset
    await js.update_stream(config)
