"""A lease on each alert rule, so that one logger at a time evaluates it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

from services.logger.alerts import bucket as buckets
from services.logger.alerts.bucket import Bucket
from shared.alerts.model import LEASE_KEY, AlertRule
from shared.process import cancel_and_wait

DURATION = timedelta(seconds=30)  # until another logger takes over, unless the lease is renewed
RENEW_SECONDS = 10.0
_SLACK = 60.0  # seconds that the key outlives the lease, so that clocks may differ


class RuleLease:
    """The lease of the logger that evaluates a rule: a key with a TTL."""

    def __init__(self, bucket: Bucket, rule: AlertRule, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._key = f"{LEASE_KEY}{rule.account}.{rule.name}"
        self._clock = clock
        self._revision: int | None = None  # None: another logger holds it

    @contextlib.asynccontextmanager
    async def held(self, rest: timedelta) -> AsyncIterator[bool]:
        """Hold the lease during the block, and afterwards until `rest` is over.

        `rest`: from the beginning. Yields False if another logger holds the lease.
        """
        began = self._clock()
        value, self._revision = await self._bucket.get(self._key)
        if not _has_expired(value, began):
            yield False
            return
        await self._extend(began + DURATION)
        renewing = asyncio.create_task(self._renew())
        try:
            yield self._revision is not None
        finally:
            await cancel_and_wait(renewing)
            with contextlib.suppress(*buckets.Failed):
                await self._extend(began + rest)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with contextlib.suppress(*buckets.Failed):
                await self._extend(self._clock() + DURATION)

    async def _extend(self, until: datetime) -> None:
        """Store until when the lease lasts, unless another logger was faster."""
        if self._revision is None:
            return
        ttl = (until - self._clock()).total_seconds() + _SLACK
        value = until.isoformat().encode()
        self._revision = await self._bucket.replace(self._key, value, revision=self._revision, ttl=ttl)


def _has_expired(value: bytes | None, now: datetime) -> bool:
    """Whether a lease has expired, by the time stored in its key."""
    try:
        return not value or datetime.fromisoformat(value.decode()) <= now
    except ValueError:
        return True
