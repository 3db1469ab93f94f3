"""JetStream pull consumer: one pull at a time, bounded in messages and bytes."""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

ACK = b"+ACK"
NAK = b"-NAK"
WORKING = b"+WPI"
DRAIN = 2.0  # seconds for messages in flight to arrive


class PullConsumer:
    """Messages of a shared durable consumer, in order of arrival.

    nats-py's own fetch cannot bound the bytes of a pull and returns after the first message.
    """

    def __init__(
        self,
        nc: Client,
        *,
        stream: str,
        durable: str,
        batch: int = 500,
        max_bytes: int = 16 << 20,
        expires: float = 5.0,
    ) -> None:
        self._nc = nc
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._request = json.dumps({"batch": batch, "max_bytes": max_bytes, "expires": int(expires * 1e9)}).encode()
        self._batch = batch
        self._max_bytes = max_bytes
        self._expires = expires
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._open_until = 0.0  # when the pull in flight expires
        self._left = 0  # messages that the pull in flight may still deliver
        self._subscription: Subscription | None = None
        self._inbox = ""

    async def start(self) -> None:
        """Subscribe to the inbox that pulls deliver to."""
        self._inbox = self._nc.new_inbox()
        self._subscription = await self._nc.subscribe(
            self._inbox, cb=self._receive, pending_bytes_limit=4 * self._max_bytes
        )

    async def stop(self) -> None:
        """Stop pulling and return all messages not taken, so another replica gets them.

        This includes messages already on their way; otherwise they would only be redelivered after the ack wait.
        """
        if self._subscription is not None and self._nc.is_connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._subscription.drain(), DRAIN)  # type: ignore[no-untyped-call]
        while self._waiting:
            await ack(self._nc, self._waiting.popleft(), NAK)

    def forget(self) -> None:
        """Forget the pull in flight, which the server lost, and pull again."""
        self._open_until = 0.0
        self._arrived.set()

    def waiting(self) -> list[Msg]:
        """Messages that have arrived but have not been taken."""
        return list(self._waiting)

    async def take(self, patience: float) -> Msg | None:
        """The next message, or None if none arrives within `patience` seconds."""
        deadline = time.monotonic() + patience
        while not self._waiting:
            now = time.monotonic()
            if now >= deadline:
                return None
            if now >= self._open_until:
                await self._pull(now)
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), max(min(deadline, self._open_until) - now, 0.01))
            except TimeoutError:
                continue
        return self._waiting.popleft()

    async def _pull(self, now: float) -> None:
        self._open_until = now + self._expires + 0.5
        self._left = self._batch
        await self._nc.publish(self._subject, self._request, reply=self._inbox)

    async def _receive(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK"):
            self._waiting.append(message)
            self._left -= 1
            if self._left <= 0:
                self._open_until = 0.0
        else:  # a status: the pull is over (404, 408, 409), or no server handles it (503)
            if (message.headers or {}).get("Status") not in ("404", "408"):
                await asyncio.sleep(0.05)
            self._open_until = 0.0
        self._arrived.set()


async def ack(nc: Client, message: Msg, what: bytes) -> None:
    """Send an ACK, NAK or WORKING for a message.

    If it is lost the message is redelivered, which does no harm.
    """
    try:
        await nc.publish(message.reply, what)
    except Exception as error:  # the connection is closed, or its buffer is full during an outage
        log.debug("acknowledgement not sent: %s", type(error).__name__)
