"""Publishes the messages of a past to JetStream, no faster than the logger takes them."""

import asyncio
from collections.abc import Iterable

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from deploy.demo.history import GATEWAY, Message
from shared.events import EVENTS_STREAM, EVENTS_SUBJECT, LOGGER_CONSUMER

SUBJECT = f"{EVENTS_SUBJECT}.{GATEWAY}"
_LAG = 60  # messages that the logger may be behind: 15 MB
_ACK_SECONDS = 10.0
_PAUSE, _LONGEST_PAUSE = 0.5, 16.0


class Progress(msgspec.Struct):
    """How far it is."""

    rows: int = 0
    events: int = 0
    behind: int = 0  # messages that the logger has not taken
    refused: bool = False  # the stream is full at the moment


async def publish(client: Client, messages: Iterable[Message], progress: Progress) -> None:
    """Store all of them in the stream. Safe to repeat: ids and events are the same then."""
    for message in messages:
        await wait_for_logger(client, progress, most=_LAG)
        await _store(client.jetstream(), message, progress)


async def wait_for_logger(client: Client, progress: Progress, *, most: int = 0) -> None:
    """Wait until the logger is at most so many messages behind, however long that takes."""
    js = client.jetstream()
    while True:
        consumer = await js.consumer_info(EVENTS_STREAM, LOGGER_CONSUMER)
        progress.behind = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        if progress.behind <= most:
            return
        await asyncio.sleep(0.1)


async def _store(js: JetStreamContext, message: Message, progress: Progress) -> None:
    """Publish until the stream has it. A full stream refuses; the logger purges what is taken and old."""
    pause, headers = _PAUSE, {"Nats-Msg-Id": message.id}
    while True:
        try:
            await js.publish(SUBJECT, message.data, timeout=_ACK_SECONDS, headers=headers)
            break
        except nats.js.errors.APIError:
            progress.refused = True
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        except nats.errors.Error:  # no reply, or no connection at the moment: again, under the same id
            await asyncio.sleep(pause)
    progress.refused = False
    progress.rows += message.rows
    progress.events += message.events
