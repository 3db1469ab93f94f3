"""Turns of the loggers at evaluating a rule: one logger at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

from services.logger.alerts import bucket as buckets
from services.logger.alerts.bucket import Bucket
from shared.alerts.model import TURN_KEY, AlertRule
from shared.process import cancel_and_wait

TURN = timedelta(seconds=30)  # after which another logger takes over, unless this one says that it is at it
BEAT_SECONDS = 10.0
_SLACK = 60.0  # seconds that the key of a turn outlives it, so that clocks may differ


class Turn:
    """The key of a rule's turn, held by the logger that evaluates it."""

    def __init__(self, bucket: Bucket, rule: AlertRule, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._key = f"{TURN_KEY}{rule.account}.{rule.name}"
        self._clock = clock
        self._revision: int | None = None  # None: another logger has it

    @contextlib.asynccontextmanager
    async def held(self, rest: timedelta) -> AsyncIterator[bool]:
        """Hold the turn during the block, and let nobody have it before `rest` is over.

        `rest`: from the beginning. Yields False if another logger has the turn.
        """
        began = self._clock()
        value, self._revision = await self._bucket.get(self._key)
        if not _is_over(value, began):
            yield False
            return
        await self._take(began + TURN)
        keeping = asyncio.create_task(self._keep())
        try:
            yield self._revision is not None
        finally:
            await cancel_and_wait(keeping)
            with contextlib.suppress(*buckets.Failed):
                await self._take(began + rest)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(*buckets.Failed):
                await self._take(self._clock() + TURN)

    async def _take(self, until: datetime) -> None:
        """Note until when the turn lasts, unless another logger was faster."""
        if self._revision is None:
            return
        ttl = (until - self._clock()).total_seconds() + _SLACK
        value = until.isoformat().encode()
        self._revision = await self._bucket.replace(self._key, value, revision=self._revision, ttl=ttl)


def _is_over(value: bytes | None, now: datetime) -> bool:
    """Whether a turn is over, by the time noted in its key."""
    try:
        return not value or datetime.fromisoformat(value.decode()) <= now
    except ValueError:
        return True
