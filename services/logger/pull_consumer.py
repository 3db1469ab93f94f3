"""A shared durable pull consumer goes in, messages come out: one pull at a time, bounded in messages and in bytes."""

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

ACK, NAK, WORKING = b"+ACK", b"-NAK", b"+WPI"
DRAIN = 2.0  # seconds for what is under way to come in


class PullConsumer:
    """Messages in the order in which they came. nats-py's own fetch cannot bound bytes and returns at the first one."""

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
        self._batch, self._max_bytes, self._expires = batch, max_bytes, expires
        self._waiting: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._open_until = 0.0  # of the pull that is under way
        self._left = 0
        self._subscription: Subscription | None = None
        self._inbox = ""

    async def start(self) -> None:
        """Subscribe to the pulls' answers."""
        self._inbox = self._nc.new_inbox()
        self._subscription = await self._nc.subscribe(
            self._inbox, cb=self._receive, pending_bytes_limit=4 * self._max_bytes
        )

    async def stop(self) -> None:
        """Ask for no more, and give back what was not taken, so that another replica gets it at once.

        What the server sent before it heard of the end is given back too: thrown away, it would wait out the ack wait.
        """
        if self._subscription is not None and self._nc.is_connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._subscription.drain(), DRAIN)  # type: ignore[no-untyped-call]
        while self._waiting:
            await ack(self._nc, self._waiting.popleft(), NAK)

    def forget(self) -> None:
        """The server lost the pull that was under way (it restarted, the connection broke): make a new one."""
        self._open_until = 0.0
        self._arrived.set()

    def waiting(self) -> list[Msg]:
        """Messages that came and were not taken yet."""
        return list(self._waiting)

    async def take(self, patience: float) -> Msg | None:
        """The next message, or None when none came within `patience` seconds."""
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
        self._open_until, self._left = now + self._expires + 0.5, self._batch
        await self._nc.publish(self._subject, self._request, reply=self._inbox)

    async def _receive(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK"):
            self._waiting.append(message)
            self._left -= 1
            if self._left <= 0:
                self._open_until = 0.0
        else:  # a status: the pull is over (404, 408, 409), or nobody is there to serve it (503)
            if (message.headers or {}).get("Status") not in ("404", "408"):
                await asyncio.sleep(0.05)
            self._open_until = 0.0
        self._arrived.set()


async def ack(nc: Client, message: Msg, what: bytes) -> None:
    """Tell the consumer how a message fared. An answer that gets lost means a redelivery, which changes nothing."""
    try:
        await nc.publish(message.reply, what)
    except Exception as error:  # closed, or its buffer is full while the server is away
        log.debug("not answered: %s", type(error).__name__)
