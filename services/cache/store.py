"""A key goes in, its entry comes out of memory, else of the stream, which all replicas share and which lives longer."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import api

from services.cache.lru import LRU, Claim
from shared import cache_protocol

WRITE_SECONDS = 5.0

Failed = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)


class Unkeepable(ValueError):
    """An entry that no stream will ever take; the message says why."""


class _Loading(NamedTuple):
    claim: Claim
    task: asyncio.Task[bytes | None]


class Store:
    """One replica's memory over the stream, and what keeps it true while others store and purge."""

    def __init__(
        self,
        nc: Client,
        memory: LRU,
        *,
        patience: float,
        direct: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`patience`: seconds that a reading may take.

        `direct`: read from whichever server is at hand. Of copies one may lag: then only the leader's is true.
        """
        self._nc, self._memory, self._direct, self._clock = nc, memory, direct, clock
        self._reading = nc.jetstream(timeout=patience)
        self._writing = nc.jetstream(timeout=WRITE_SECONDS)
        self._loading: dict[str, _Loading] = {}
        self._reconnects = nc.stats["reconnects"]

    def remembered(self, key: str) -> bytes | None:
        """The entry in memory, at once; None when there is none that holds."""
        # Counted before the subscriptions are renewed, so before anything could be asked over the new connection.
        if self._nc.stats["reconnects"] != self._reconnects:
            self._reconnects = self._nc.stats["reconnects"]
            self._memory.clear()  # changes and purges may have been missed
        return self._memory.get(key)

    async def load(self, key: str) -> bytes | None:
        """The entry in the stream. All that ask for it at the same time share one reading, until it is changed."""
        found = self._loading.get(key)
        if found is None or found.claim.void:
            found = self._begin(key)
        return await asyncio.shield(found.task)

    def _begin(self, key: str) -> _Loading:
        claim = self._memory.claim(key)
        found = self._loading[key] = _Loading(claim, asyncio.create_task(self._read(claim)))

        def end(task: asyncio.Task[bytes | None]) -> None:
            if self._loading.get(key) is found:
                del self._loading[key]
            if not task.cancelled():
                task.exception()  # whoever waited has it; perhaps nobody waits any more

        found.task.add_done_callback(end)
        return found

    async def read(self, key: str) -> bytes | None:
        """The entry as it stands in the stream from now on, shared with no reading begun before."""
        return await self._read(self._memory.claim(key))

    async def _read(self, claim: Claim) -> bytes | None:
        try:
            subject = cache_protocol.SUBJECT + claim.key
            message = await self._reading.get_msg(cache_protocol.STREAM, subject=subject, direct=self._direct)
            expires = _expires(message)
            if expires <= self._clock():  # the server takes its time to remove what has ended
                return None
            entry = message.data or b""
            self._memory.put(claim, entry, expires=expires)
            return entry
        except nats.js.errors.NotFoundError:
            return None
        finally:
            self._memory.release(claim)

    async def keep(self, key: str, entry: bytes, *, ttl: int) -> None:
        """Store an entry, acknowledged when this returns. Unkeepable, or one of `Failed`: it may yet be stored then."""
        if ttl < 1:
            raise Unkeepable("an entry is kept for a second at least")
        if len(entry) > cache_protocol.LARGEST_ENTRY:
            raise Unkeepable(f"an entry has at most {cache_protocol.LARGEST_ENTRY} bytes")
        ttl = min(ttl, cache_protocol.LONGEST)
        expires = self._clock() + ttl
        claim = self._memory.claim(key)
        try:
            await self._writing.publish(
                cache_protocol.SUBJECT + key,
                entry,
                stream=cache_protocol.STREAM,
                headers={cache_protocol.EXPIRES: str(int(expires * 1000))},
                msg_ttl=ttl,
            )
            self._memory.changed(cache_protocol.digest(key), by=claim)
            self._memory.put(claim, entry, expires=expires)
        except BaseException:
            self._memory.changed(cache_protocol.digest(key))
            raise
        finally:
            self._memory.release(claim)

    def changed(self, digest: str) -> None:
        """Another replica stored an entry."""
        self._memory.changed(digest)

    def forget(self, pattern: str) -> None:
        """Entries were purged from the stream."""
        self._memory.forget(pattern)


def _expires(message: api.RawStreamMsg) -> float:
    """When an entry ends, in Unix seconds; one that does not say so has ended."""
    try:
        return int((message.headers or {})[cache_protocol.EXPIRES]) / 1000
    except (KeyError, ValueError):
        return 0.0
