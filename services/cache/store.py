"""Cache entries: in memory, and in a NATS stream that all replicas share."""

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


class NotStorable(ValueError):
    """An entry that can never be stored; the message says why."""


class _Loading(NamedTuple):
    claim: Claim
    task: asyncio.Task[bytes | None]


class Store:
    """One replica's memory over the stream, coherent while others store and purge."""

    def __init__(
        self,
        nc: Client,
        memory: LRU,
        *,
        timeout: float,
        direct: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout`: seconds for a read.

        `direct`: read from any server. With several stream replicas one may lag, so only the leader must be read.
        """
        self._nc = nc
        self._memory = memory
        self._direct = direct
        self._clock = clock
        self._reading = nc.jetstream(timeout=timeout)
        self._writing = nc.jetstream(timeout=WRITE_SECONDS)
        self._loading: dict[str, _Loading] = {}
        self._reconnects = nc.stats["reconnects"]

    def cached(self, key: str) -> bytes | None:
        """The entry in memory, without waiting; None if there is none."""
        # nats-py counts a reconnect before it resubscribes, so before any request arrives over the new connection.
        if self._nc.stats["reconnects"] != self._reconnects:
            self._reconnects = self._nc.stats["reconnects"]
            self._memory.clear()  # it may have missed changes and purges
        return self._memory.get(key)

    async def load(self, key: str) -> bytes | None:
        """The entry in the stream; concurrent callers share one read."""
        loading = self._loading.get(key)
        if loading is None or loading.claim.void:
            loading = self._start_loading(key)
        return await asyncio.shield(loading.task)

    def _start_loading(self, key: str) -> _Loading:
        claim = self._memory.claim(key)
        loading = _Loading(claim, asyncio.create_task(self._read(claim)))
        self._loading[key] = loading

        def end(task: asyncio.Task[bytes | None]) -> None:
            if self._loading.get(key) is loading:
                del self._loading[key]
            if not task.cancelled():
                task.exception()  # waiters got it; retrieve it in case nobody waits any more

        loading.task.add_done_callback(end)
        return loading

    async def read(self, key: str) -> bytes | None:
        """The entry in the stream as of now, not shared with an earlier read."""
        return await self._read(self._memory.claim(key))

    async def _read(self, claim: Claim) -> bytes | None:
        try:
            subject = cache_protocol.SUBJECT + claim.key
            message = await self._reading.get_msg(cache_protocol.STREAM, subject=subject, direct=self._direct)
            expires = _expires(message)
            if expires <= self._clock():  # the server removes expired entries with a delay
                return None
            entry = message.data or b""
            self._memory.put(claim, entry, expires=expires)
            return entry
        except nats.js.errors.NotFoundError:
            return None
        finally:
            self._memory.release(claim)

    async def put(self, key: str, entry: bytes, *, ttl: int) -> None:
        """Store an entry and wait for the acknowledgement.

        Raises NotStorable, or one of `Failed`: the entry may have been stored all the same.
        """
        if ttl < 1:
            raise NotStorable("the ttl must be at least one second")
        if len(entry) > cache_protocol.LARGEST_ENTRY:
            raise NotStorable(f"an entry must not exceed {cache_protocol.LARGEST_ENTRY} bytes")
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
            self._memory.invalidate(cache_protocol.digest(key), by=claim)
            self._memory.put(claim, entry, expires=expires)
        except BaseException:
            self._memory.invalidate(cache_protocol.digest(key))
            raise
        finally:
            self._memory.release(claim)

    def invalidate(self, digest: str) -> None:
        """Forget an entry that another replica changed."""
        self._memory.invalidate(digest)

    def purge(self, pattern: str) -> None:
        """Forget entries that were purged from the stream."""
        self._memory.purge(pattern)


def _expires(message: api.RawStreamMsg) -> float:
    """The expiry of an entry, in Unix seconds; 0 if it states none."""
    try:
        return int((message.headers or {})[cache_protocol.EXPIRES]) / 1000
    except (KeyError, ValueError):
        return 0.0
