"""Entries by key go in, bounded in bytes; those that still hold come out, and the least recently asked for go first."""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from shared import cache_protocol

OVERHEAD = 500  # bytes that an entry costs beside its own


class Claim:
    """Somebody is on the way with a key's entry. Void as soon as the key changes: what they bring is old then."""

    __slots__ = ("key", "void")

    def __init__(self, key: str) -> None:
        self.key = key
        self.void = False


class Held(msgspec.Struct, frozen=True):
    """An entry and when it ends, in Unix seconds."""

    key: str
    entry: bytes
    expires: float


class LRU:
    """Entries by digest. Nothing here waits, so a change and a lookup never overlap."""

    def __init__(self, most_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        self._most = most_bytes
        self._clock = clock
        self._held: OrderedDict[str, Held] = OrderedDict()  # the least recently asked for first
        self._claims: dict[str, list[Claim]] = {}  # by digest
        self.bytes = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> bytes | None:
        """The key's entry, unless it has ended or is not here."""
        digest = cache_protocol.digest(key)
        held = self._held.get(digest)
        if held is None or held.key != key:
            return None
        if held.expires <= self._clock():
            self._drop(digest)
            return None
        self._held.move_to_end(digest)
        return held.entry

    def claim(self, key: str) -> Claim:
        """Announce an entry before asking for it: `put` it, and `release` the claim whatever came of it."""
        claim = Claim(key)
        self._claims.setdefault(cache_protocol.digest(key), []).append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """The claim is over."""
        digest = cache_protocol.digest(claim.key)
        others = self._claims[digest]
        others.remove(claim)
        if not others:
            del self._claims[digest]

    def put(self, claim: Claim, entry: bytes, *, expires: float) -> None:
        """Hold what was claimed, in place of what was held before, unless the claim is void or the entry has ended."""
        size, digest = len(entry) + OVERHEAD, cache_protocol.digest(claim.key)
        if claim.void or expires <= self._clock() or size > self._most:
            return
        self._drop(digest)
        self._held[digest] = Held(claim.key, entry, expires)
        self.bytes += size
        while self.bytes > self._most:
            self._drop(next(iter(self._held)))
            self.evictions += 1

    def changed(self, digest: str, *, by: Claim | None = None) -> None:
        """What is held of it is old, and so is what others than `by` are on the way with."""
        self._drop(digest)
        for claim in self._claims.get(digest, ()):
            claim.void = claim.void or claim is not by

    def forget(self, pattern: str) -> None:
        """Drop the entries whose key fits a purge pattern, those on the way too."""
        wanted = [(place, part) for place, part in enumerate(pattern.split(".")) if part != "*"]

        def fits(key: str) -> bool:
            parts = key.split(".")
            return all(parts[place] == part for place, part in wanted)

        for digest in [digest for digest, held in self._held.items() if fits(held.key)]:
            self._drop(digest)
        for claims in self._claims.values():
            for claim in claims:
                claim.void = claim.void or fits(claim.key)

    def clear(self) -> None:
        """Drop everything, on the way or not."""
        self._held.clear()
        self.bytes = 0
        for claims in self._claims.values():
            for claim in claims:
                claim.void = True

    def _drop(self, digest: str) -> None:
        held = self._held.pop(digest, None)
        if held is not None:
            self.bytes -= len(held.entry) + OVERHEAD
