"""Purges stored events from the event stream and measures the backlog."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from services.logger.metrics import Metrics
from shared import events

log = logging.getLogger(__name__)

WINDOW = timedelta(minutes=31)  # the stream's duplicate_window plus a minute: younger messages may be sent again
PURGE_EVERY = 60.0
MEASURE_EVERY = 5.0
_EVENTS = f"{events.EVENTS_SUBJECT}.>"


async def forever(nc: Client, *, metrics: Metrics) -> None:
    """Measure every few seconds; purge every minute, or at once when half full.

    A failure is retried at the next turn.
    """
    js = nc.jetstream()
    turns = round(PURGE_EVERY / MEASURE_EVERY)
    while True:
        for turn in range(turns):
            try:
                crowded = await measure(js, metrics)
                if crowded or turn == turns - 1:
                    metrics.purged.inc(await purge(js, window=timedelta(0) if crowded else WINDOW))
            except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
                log.warning("purging the event stream failed, retrying: %s", type(error).__name__)
            await asyncio.sleep(MEASURE_EVERY)


async def measure(js: JetStreamContext, metrics: Metrics) -> bool:
    """Update the backlog metrics; returns whether the stream is more than half full."""
    consumer = await js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
    in_hand = consumer.num_ack_pending or 0
    pending = (consumer.num_pending or 0) + in_hand
    floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    metrics.pending.set(pending)
    metrics.in_hand.set(in_hand)
    metrics.oldest.set(await _age(js, floor + 1) if pending else 0.0)
    stream = await js.stream_info(events.EVENTS_STREAM)
    metrics.stream_bytes.set(stream.state.bytes)
    metrics.stream_max_bytes.set(stream.config.max_bytes or 0)
    metrics.dead_waiting.set((await js.stream_info(events.DEAD_STREAM)).state.messages)
    return stream.state.bytes > (stream.config.max_bytes or 0) / 2 > 0


async def oldest_seconds(js: JetStreamContext) -> float:
    """Age in seconds of the oldest message not yet stored; 0.0 if there is none."""
    consumer = await js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
    if not consumer.num_pending and not consumer.num_ack_pending:
        return 0.0
    return await _age(js, (consumer.ack_floor.stream_seq if consumer.ack_floor else 0) + 1)


async def _age(js: JetStreamContext, sequence: int) -> float:
    """Age in seconds of the first message at or after `sequence`; 0.0 if there is none."""
    try:
        message = await js.get_msg(events.EVENTS_STREAM, seq=sequence, subject=_EVENTS, next=True)
    except nats.js.errors.NotFoundError:
        return 0.0
    assert message.time
    return max((datetime.now(UTC) - message.time).total_seconds(), 0.0)


async def purge(js: JetStreamContext, *, window: timedelta = WINDOW) -> int:
    """Purge messages that are acknowledged and older than `window`; returns how many.

    Acknowledged messages stay in the stream otherwise; a full stream refuses publishes. Within the window the server
    deduplicates by message id, after a restart only if the message is still in the stream. Without deduplication a
    message is stored again as the same rows, so the window only saves work.
    """
    consumer = await js.consumer_info(events.EVENTS_STREAM, events.LOGGER_CONSUMER)
    before = (await js.stream_info(events.EVENTS_STREAM)).state
    acked = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    last = min(acked, before.last_seq)
    if window:
        last = await _last_older(js, before.first_seq, last, datetime.now(UTC) - window)
    if last < before.first_seq:
        return 0
    await js.purge_stream(events.EVENTS_STREAM, seq=last + 1)
    return before.messages - (await js.stream_info(events.EVENTS_STREAM)).state.messages


async def _last_older(js: JetStreamContext, first: int, last: int, limit: datetime) -> int:
    """The highest sequence in first..last stored before `limit`, else first - 1 (binary search)."""
    low = first - 1
    high = last
    while low < high:
        middle = (low + high + 1) // 2
        if await _stored_at(js, middle) < limit:
            low = middle
        else:
            high = middle - 1
    return low


async def _stored_at(js: JetStreamContext, sequence: int) -> datetime:
    try:
        message = await js.get_msg(events.EVENTS_STREAM, seq=sequence)
    except nats.js.errors.NotFoundError:  # purged meanwhile by another replica
        return datetime.min.replace(tzinfo=UTC)
    assert message.time
    return message.time
