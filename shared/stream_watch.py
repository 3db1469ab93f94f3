"""Follows the newest message of each subject of a stream."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import api
from nats.js.errors import Error as JetStreamError

from shared.accounts_kv import removes

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
SILENCE_SECONDS = 3.5  # without a heartbeat, after which the stream is read again
RELOAD_SECONDS = 600.0  # after which it is read again anyway
_RETRY_SECONDS = 0.25
_TIMEOUT_SECONDS = 5.0
_TURN = 1000  # messages taken over at a time

# Called with the subject behind the prefix and the new message; None: it was deleted.
Changed = Callable[[str, bytes | None], None]


class StreamWatch:
    """A copy of a stream that keeps one message a subject, such as a key-value bucket.

    Its consumer is bound to the prefix by the subject that creates it, so rights can be confined to a part of a stream.
    """

    def __init__(self, stream: str, prefix: str, changed: Changed) -> None:
        """Watch the subjects that begin with `prefix`, which ends in a dot."""
        self._stream = stream
        self._prefix = prefix
        self._changed = changed
        self._values: dict[str, bytes] = {}
        self._loading: dict[str, bytes] | None = None  # while everything is read again
        self._subscription: Subscription | None = None
        self._inbox = ""  # of the present consumer
        self._received = 0
        self._heard_at = 0.0
        self._again = asyncio.Event()
        self.loaded = asyncio.Event()  # set once everything has been read

    @property
    def values(self) -> Mapping[str, bytes]:
        """Messages by subject, without the prefix."""
        return self._values

    async def follow(self, nc: Client) -> None:
        """Follow until cancelled or `nc` is closed."""
        try:
            while not nc.is_closed:
                self._again.clear()
                try:
                    if nc.is_connected:
                        await self._read_all(nc)
                        await self._until_stale(nc)
                        continue
                except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                    log.debug("%s: not watched yet: %s", self._stream, type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            await self._detach()

    async def _read_all(self, nc: Client) -> None:
        await self._detach()
        self._loading = {}
        self._received = 0
        self._heard_at = asyncio.get_running_loop().time()
        inbox = self._inbox = nc.new_inbox()
        receive = functools.partial(self._receive, inbox)
        self._subscription = await nc.subscribe(inbox, cb=receive, pending_bytes_limit=1 << 28)
        consumer = await nc.jetstream(timeout=_TIMEOUT_SECONDS).add_consumer(
            self._stream,
            api.ConsumerConfig(
                name=inbox.rpartition(".")[2],
                deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
                deliver_subject=inbox,
                filter_subject=self._prefix + ">",
                ack_policy=api.AckPolicy.NONE,
                idle_heartbeat=HEARTBEAT_SECONDS,
                inactive_threshold=5.0,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        sent = consumer.delivered.consumer_seq if consumer.delivered else 0
        if not consumer.num_pending and not sent and not self._received:
            await self._complete()

    async def _until_stale(self, nc: Client) -> None:
        loop = asyncio.get_running_loop()
        reload_at = loop.time() + RELOAD_SECONDS
        while nc.is_connected and loop.time() < reload_at and loop.time() - self._heard_at < SILENCE_SECONDS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), HEARTBEAT_SECONDS)
                return

    async def _detach(self) -> None:
        subscription = self._subscription
        self._subscription = None
        self._inbox = ""
        if subscription is not None:
            with contextlib.suppress(NatsError, OSError):
                await subscription.unsubscribe()

    async def _receive(self, inbox: str, message: Msg) -> None:
        if inbox != self._inbox:  # of a consumer that has been replaced
            return
        self._heard_at = asyncio.get_running_loop().time()
        if not message.reply:  # a heartbeat, with the number of messages sent
            headers = message.headers or {}
            if int(headers.get("Nats-Last-Consumer", self._received)) != self._received:
                self._again.set()
            elif self._loading is not None:
                await self._complete()
            return
        metadata = message.metadata
        if metadata.sequence.consumer != self._received + 1:
            self._again.set()
            return
        self._received += 1
        key = message.subject.removeprefix(self._prefix)
        value = None if removes(message.headers) else message.data
        if self._loading is not None:
            if value is not None:
                self._loading[key] = value
            if metadata.num_pending == 0:
                await self._complete()
        else:
            self._apply(key, value)

    async def _complete(self) -> None:
        """Take over what was read, and report what has changed."""
        loaded, self._loading = self._loading or {}, None
        inbox = self._inbox
        for key in self._values.keys() - loaded.keys():
            self._apply(key, None)
        for number, (key, value) in enumerate(loaded.items(), 1):
            self._apply(key, value)
            if not number % _TURN:  # others get their turn; messages wait in the meantime
                await asyncio.sleep(0)
                if inbox != self._inbox:  # it is being read again
                    return
        self.loaded.set()

    def _apply(self, key: str, value: bytes | None) -> None:
        if self._values.get(key) == value:
            return
        if value is None:
            self._values.pop(key, None)
        else:
            self._values[key] = value
        try:
            self._changed(key, value)
        except Exception:  # a record that cannot be read must not stop those behind it
            log.exception("%s: %s is ignored", self._stream, key)
