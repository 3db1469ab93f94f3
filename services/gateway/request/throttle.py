"""Throttle for requests that no limit of an account covers."""

import math
import time
from collections.abc import Callable

import msgspec

_MOST_KEYS = 10_000


class _Bucket(msgspec.Struct):
    permits: float
    at: float


class Throttle:
    """A bucket of permits per key, refilled at a steady rate.

    In memory, for this gateway alone.
    """

    def __init__(self, *, burst: int, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_second = per_minute / 60
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key: str) -> int:
        """Take a permit; returns the seconds to wait if there is none, else 0."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= _MOST_KEYS:
                self._forget_full(now)
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        bucket.permits = self._refilled(bucket, now)
        bucket.at = now
        if bucket.permits < 1:
            return math.ceil((1 - bucket.permits) / self._per_second)
        bucket.permits -= 1
        return 0

    def _refilled(self, bucket: _Bucket, now: float) -> float:
        return min(bucket.permits + (now - bucket.at) * self._per_second, self._burst)

    def _forget_full(self, now: float) -> None:
        """Forget keys whose bucket is full again: a new one is the same."""
        self._buckets = {
            key: bucket for key, bucket in self._buckets.items() if self._refilled(bucket, now) < self._burst
        }
