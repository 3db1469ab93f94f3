"""Messages of the stream SPEND, written by the holder of a lease.

Each message is written only over the one that was read, so a logger that was frozen cannot bring back old figures.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError

from shared.limits.spend import SPEND_STREAM, SPEND_SUBJECT

LEASE_SECONDS = 10
_LEASE = SPEND_SUBJECT + "-lease"  # no account's name begins with -
_CONFLICTS = (10071, 10164)
_TOGETHER = 200  # messages published at the same time
_TIMEOUT = 5.0


class LeaseLost(Exception):
    """Another logger has taken over."""


class Figures:
    """What is published, and the lease to change it."""

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream(timeout=_TIMEOUT)
        self._lease = 0  # number of our lease; 0: we hold none
        self._renewing = asyncio.Lock()
        self._lease_until = 0.0
        # Number and content of the newest message of each subject, by the subject without its last part.
        self.published: dict[str, dict[str, tuple[int, bytes]]] = {}

    @property
    def is_leased(self) -> bool:
        """Whether this logger holds the lease, as far as it knows."""
        return self._lease != 0

    async def lease(self) -> bool:
        """Take over a lease that has expired; True if this logger has done so."""
        until = time.monotonic() + LEASE_SECONDS
        try:
            self._lease = await self._put(_LEASE, b"", after=0, ttl=LEASE_SECONDS)
        except LeaseLost:
            return False
        self._lease_until = until
        return True

    def recheck_lease(self) -> None:
        """Renew the lease next time, to see whether we still hold it."""
        self._lease_until = 0.0

    async def renew(self) -> None:
        """Renew the lease if it is time; forget one that another logger has taken over."""
        async with self._renewing:
            until = time.monotonic() + LEASE_SECONDS
            if not self._lease or until < self._lease_until + LEASE_SECONDS / 2:
                return
            try:
                self._lease = await self._put(_LEASE, b"", after=self._lease, ttl=LEASE_SECONDS)
                self._lease_until = until
            except LeaseLost:
                self._lease = 0

    async def release(self) -> None:
        """Let another logger take over at once."""
        if self._lease:
            await self._put(_LEASE, b"", after=self._lease, ttl=1)

    async def write(self, messages: Mapping[str, bytes], *, ttl: int | None = None) -> None:
        """Write messages by subject, each only over the one that we know.

        Raises LeaseLost if another logger has written. `ttl`: seconds after which they disappear.
        """
        for part in _parts(list(messages.items()), _TOGETHER):
            await asyncio.gather(*(self._write(subject, data, ttl=ttl) for subject, data in part))

    async def _write(self, subject: str, data: bytes, *, ttl: int | None) -> None:
        published = self.published.setdefault(_name(subject), {})
        after = published.get(subject, (0, b""))[0]
        published[subject] = (await self._put(subject, data, after=after, ttl=ttl), data)

    async def _put(self, subject: str, data: bytes, *, after: int, ttl: int | None) -> int:
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(after)}
        try:
            ack = await self._js.publish(subject, data, stream=SPEND_STREAM, headers=headers, msg_ttl=ttl)
        except APIError as error:
            if error.err_code in _CONFLICTS:
                raise LeaseLost from None
            raise
        return ack.seq

    async def read(self) -> None:
        """Read everything that is published, with the numbers of the messages."""
        found: dict[str, dict[str, tuple[int, bytes]]] = {}
        if not (await self._js.stream_info(SPEND_STREAM)).state.messages:
            self.published = found
            return
        policy = api.DeliverPolicy.LAST_PER_SUBJECT
        reading = await self._js.subscribe(
            SPEND_SUBJECT + ">", stream=SPEND_STREAM, ordered_consumer=True, deliver_policy=policy
        )
        try:
            while True:
                message = await reading.next_msg(timeout=_TIMEOUT)
                if message.subject != _LEASE:
                    figures = found.setdefault(_name(message.subject), {})
                    figures[message.subject] = (message.metadata.sequence.stream, message.data)
                if not message.metadata.num_pending:
                    self.published = found
                    return
        finally:
            await reading.unsubscribe()


def _name(subject: str) -> str:
    """A subject without its last part: of a figure, the account and name of its limit."""
    return subject.rpartition(".")[0]


def _parts(items: list[tuple[str, bytes]], size: int) -> Iterable[list[tuple[str, bytes]]]:
    return (items[start : start + size] for start in range(0, len(items), size))
