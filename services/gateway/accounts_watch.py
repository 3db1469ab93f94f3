"""Reads the accounts bucket's messages in order, from a consumer on NATS."""

import asyncio
from typing import Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared import accounts_kv
from shared.accounts_model import Accounts


class Mirrored(Protocol):
    """What a watch updates: services.gateway.accounts_mirror.Mirror."""

    def is_current(self, watch: "Watch") -> bool:
        """Whether `watch` is the current one: messages of older ones must not undo newer."""

    def read(self) -> Accounts:
        """The current state, which a resumed watch updates."""

    def accept(self, directory: Accounts, *, created: str, revision: int) -> None:
        """Replace the state with what a watch has read."""

    def confirm(self) -> None:
        """Record that the watch is alive and has missed nothing."""

    async def resume(self) -> None:
        """Restart the watch from the last revision."""


class Watch:
    """A consumer of the bucket: applies messages in order; a gap requests another."""

    def __init__(self, mirror: Mirrored, *, start: int, created: str) -> None:
        self._mirror = mirror
        self._created = created
        self._loading = None if start else Accounts()  # a full reload replaces the directory at its end
        self.received = 0
        self.last_message_at = asyncio.get_running_loop().time()
        self.subscription: Subscription | None = None

    async def receive(self, message: Msg) -> None:
        """Handle a value, or a heartbeat with the number of messages sent."""
        if not self._mirror.is_current(self):
            return
        self.last_message_at = asyncio.get_running_loop().time()
        if not message.reply:
            headers = message.headers or {}
            if int(headers.get("Nats-Last-Consumer", self.received)) != self.received:
                await self._mirror.resume()
            elif self._loading is not None and "Nats-Last-Stream" in headers:  # the pending messages have been purged
                self.complete(int(headers["Nats-Last-Stream"]))
            elif self._loading is None:
                self._mirror.confirm()
            return
        metadata = message.metadata
        if metadata.sequence.consumer != self.received + 1:
            await self._mirror.resume()
            return
        self.received += 1
        self._put(message)
        if self._loading is None or metadata.num_pending == 0:
            self.complete(metadata.sequence.stream, is_last=metadata.num_pending == 0)

    def complete(self, revision: int, *, is_last: bool = True) -> None:
        """Hand everything up to `revision` to the mirror.

        `is_last`: nothing more is pending.
        """
        directory = self._loading if self._loading is not None else self._mirror.read()
        self._loading = None
        self._mirror.accept(directory, created=self._created, revision=revision)
        if is_last:
            self._mirror.confirm()

    def _put(self, message: Msg) -> None:
        key = message.subject.removeprefix(accounts_kv.SUBJECT)
        directory = self._loading if self._loading is not None else self._mirror.read()
        if accounts_kv.removes(message.headers):
            directory.remove(key)
        else:
            directory.put(key, message.data)
