"""Publishes history to JetStream, no faster than the logger consumes it."""

import asyncio
from collections.abc import Iterable

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from deploy.demo.history import GATEWAY, Message
from shared.events import EVENTS_STREAM, EVENTS_SUBJECT, LOGGER_CONSUMER

_LAG = 60  # maximum lag of the logger in messages: 15 MB
_ACK_SECONDS = 10.0
_PAUSE = 0.5


class Progress(msgspec.Struct):
    """Progress of publishing."""

    rows: int = 0
    events: int = 0
    behind: int = 0  # messages not yet consumed by the logger
    refused: bool = False  # the stream is currently full


async def publish(client: Client, messages: Iterable[Message], progress: Progress) -> None:
    """Publish all messages. Safe to repeat, because ids and events are the same."""
    for message in messages:
        await wait_for_logger(client, progress, most=_LAG)
        await _store(client.jetstream(), message, progress)
        progress.rows += message.rows
        progress.events += message.events


async def wait_for_logger(client: Client, progress: Progress, *, most: int = 0) -> None:
    """Wait until the logger's lag is at most this many messages."""
    while True:
        consumer = await client.jetstream().consumer_info(EVENTS_STREAM, LOGGER_CONSUMER)
        progress.behind = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        if progress.behind <= most:
            return
        await asyncio.sleep(0.1)


async def _store(js: JetStreamContext, message: Message, progress: Progress) -> None:
    """Publish a message until it is stored; a full stream refuses until the logger has purged it."""
    subject, headers = f"{EVENTS_SUBJECT}.{GATEWAY}", {"Nats-Msg-Id": message.id}
    while True:
        try:
            await js.publish(subject, message.data, timeout=_ACK_SECONDS, headers=headers)
            progress.refused = False
            return
        except nats.errors.Error as error:
            progress.refused = isinstance(error, nats.js.errors.APIError)
            await asyncio.sleep(_PAUSE)
