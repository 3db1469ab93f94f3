"""Upkeep of the event stream: purges what is stored, and shows in the metrics what waits and for how long."""

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

WINDOW = timedelta(minutes=31)  # the stream's duplicate_window and a minute: a younger message may be sent again
PURGE_EVERY = 60.0
LOOK_EVERY = 5.0
_EVENTS = f"{events.EVENTS_SUBJECT}.>"


async def forever(nc: Client, *, metrics: Metrics) -> None:
    """Look every few seconds; purge each minute, and at once when the stream is half full. A failure waits a turn."""
    js = nc.jetstream()
    turns = round(PURGE_EVERY / LOOK_EVERY)
    while True:
        for turn in range(turns):
            try:
                crowded = await look(js, metrics)
                if crowded or turn == turns - 1:
                    metrics.purged.inc(await purge(js, window=timedelta(0) if crowded else WINDOW))
            except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
                log.warning("upkeep of the stream: %s", type(error).__name__)
            await asyncio.sleep(LOOK_EVERY)


async def look(js: JetStreamContext, metrics: Metrics) -> bool:
    """Show how the line stands: what is not stored, how old it is, the room left. Returns whether room gets short."""
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


async def _age(js: JetStreamContext, sequence: int) -> float:
    """How long the first message from `sequence` on has been in the stream, in seconds; 0.0 when there is none."""
    try:
        message = await js.get_msg(events.EVENTS_STREAM, seq=sequence, subject=_EVENTS, next=True)
    except nats.js.errors.NotFoundError:
        return 0.0
    assert message.time
    return max((datetime.now(UTC) - message.time).total_seconds(), 0.0)


async def purge(js: JetStreamContext, *, window: timedelta = WINDOW) -> int:
    """Remove what is below the ack floor and older than `window`; returns how many messages.

    Acked messages stay otherwise, would fill the stream, and the next publish would be refused. Within the window the
    server knows a repeat of a message by its id, after a restart only if the message is still there. Where it does not,
    the repeat becomes the same rows again: the window saves work, and nothing depends on it.
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
    """The highest number in first..last stored before `limit`, first − 1 when there is none; numbers rise with time."""
    low, high = first - 1, last
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
