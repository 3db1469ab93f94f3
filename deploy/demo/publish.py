"""Messages of a past in, stored by JetStream and taken by the logger out: never more than it can digest."""

import asyncio
from collections.abc import Iterable

import msgspec
import nats.errors
from nats.aio.client import Client

from deploy.demo.books import HISTORY
from deploy.demo.history import Message
from shared import contract

SUBJECT = f"{contract.EVENTS_SUBJECT}.{HISTORY}"
_WINDOW = 4  # messages that are not acked yet
_LAG = 60  # messages that the logger may be behind: 15 MB
_ACK_SECONDS = 10.0
_REFUSED_PAUSE, _LONGEST_PAUSE = 0.5, 16.0


class Progress(msgspec.Struct):
    """How far it is."""

    rows: int = 0
    events: int = 0
    behind: int = 0  # messages that the logger has not taken
    refused: bool = False  # the stream is full at the moment


class _Ack(msgspec.Struct):
    error: msgspec.Raw = msgspec.Raw()


_decode_ack = msgspec.json.Decoder(_Ack).decode


async def publish(client: Client, messages: Iterable[Message], progress: Progress) -> None:
    """All of them stored in the stream, when this returns. Safe to repeat: ids and events are the same then."""
    window, closing = asyncio.Semaphore(_WINDOW), list[Message]()
    async with asyncio.TaskGroup() as tasks:
        for number, message in enumerate(messages):
            if message.closing:
                closing.append(message)
                continue
            if number % _WINDOW == 0:
                await _digested(client, progress, most=_LAG)
            await window.acquire()
            tasks.create_task(_store(client, message, progress)).add_done_callback(lambda _: window.release())
    for message in closing:
        await _store(client, message, progress)


async def stored(client: Client, progress: Progress) -> None:
    """Wait until the logger has taken everything."""
    await _digested(client, progress, most=0)


async def _store(client: Client, message: Message, progress: Progress) -> None:
    """Until the stream has it. A full stream refuses; the logger purges what is taken and old."""
    pause = _REFUSED_PAUSE
    while True:
        headers = {"Nats-Msg-Id": message.id}
        try:
            answer = await client.request(SUBJECT, message.data, timeout=_ACK_SECONDS, headers=headers)
        except nats.errors.Error:  # no answer, or no connection at the moment: again, under the same id
            await asyncio.sleep(pause)
            continue
        if not _decode_ack(answer.data).error:
            break
        progress.refused = True
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    progress.refused = False
    progress.rows += message.rows
    progress.events += message.events


async def _digested(client: Client, progress: Progress, *, most: int) -> None:
    """Wait until the logger is at most so many messages behind, however long that takes: the progress says it."""
    js = client.jetstream()
    while True:
        consumer = await js.consumer_info(contract.EVENTS_STREAM, contract.LOGGER_CONSUMER)
        progress.behind = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
        if progress.behind <= most:
            return
        await asyncio.sleep(0.1)
