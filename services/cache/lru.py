"""In-memory LRU cache of entries, bounded in bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from shared import cache_protocol

OVERHEAD = 500  # bytes of memory per entry in addition to its data


class Claim:
    """An announced read or write of a key; void once the key changes."""

    __slots__ = ("key", "void")

    def __init__(self, key: str) -> None:
        self.key = key
        self.void = False


class Held(msgspec.Struct, frozen=True):
    """An entry with its expiry, in Unix seconds."""

    key: str
    entry: bytes
    expires: float


class LRU:
    """Entries by digest. No method awaits, so changes and lookups never interleave."""

    def __init__(self, most_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        self._most = most_bytes
        self._clock = clock
        self._held: OrderedDict[str, Held] = OrderedDict()  # least recently used first
        self._claims: dict[str, list[Claim]] = {}  # by digest
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> bytes | None:
        """The key's entry; None if it is absent or expired."""
        digest = cache_protocol.digest(key)
        item = self._held.get(digest)
        if item is None or item.key != key:
            return None
        if item.expires <= self._clock():
            self._drop(digest)
            return None
        self._held.move_to_end(digest)
        return item.entry

    def claim(self, key: str) -> Claim:
        """Announce an entry before reading it; always `release` the claim afterwards."""
        claim = Claim(key)
        self._claims.setdefault(cache_protocol.digest(key), []).append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """End a claim."""
        digest = cache_protocol.digest(claim.key)
        others = self._claims[digest]
        others.remove(claim)
        if not others:
            del self._claims[digest]

    def put(self, claim: Claim, entry: bytes, *, expires: float) -> None:
        """Store a claimed entry, unless the claim is void or the entry has expired."""
        digest = cache_protocol.digest(claim.key)
        size = len(entry) + OVERHEAD
        if claim.void or expires <= self._clock() or size > self._most:
            return
        self._drop(digest)
        self._held[digest] = Held(claim.key, entry, expires)
        self.bytes += size
        while self.bytes > self._most:
            self._drop(next(iter(self._held)))
            self.evictions += 1

    def invalidate(self, digest: str, *, by: Claim | None = None) -> None:
        """Drop the entry and void all claims on it except `by`."""
        self._drop(digest)
        for claim in self._claims.get(digest, ()):
            claim.void = claim.void or claim is not by

    def purge(self, pattern: str) -> None:
        """Drop all entries that match a purge pattern, and void matching claims."""
        fixed = [(index, part) for index, part in enumerate(pattern.split(".")) if part != "*"]

        def matches(key: str) -> bool:
            parts = key.split(".")
            return all(parts[index] == part for index, part in fixed)

        for digest in [digest for digest, item in self._held.items() if matches(item.key)]:
            self._drop(digest)
        for claims in self._claims.values():
            for claim in claims:
                claim.void = claim.void or matches(claim.key)

    def clear(self) -> None:
        """Drop all entries and void all claims."""
        self._held.clear()
        self.bytes = 0
        for claims in self._claims.values():
            for claim in claims:
                claim.void = True

    def _drop(self, digest: str) -> None:
        item = self._held.pop(digest, None)
        if item is not None:
            self.bytes -= len(item.entry) + OVERHEAD
