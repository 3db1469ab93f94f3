"""Delivery progress of a message, in its key of the alerts bucket."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from services.logger.alerts import bucket as buckets
from services.logger.alerts.bucket import Bucket
from services.logger.alerts.message import SendError
from shared.alerts.model import Sent

log = logging.getLogger(__name__)

CLAIM = timedelta(seconds=30)  # after which another logger sends the message, unless this one says that it is at it
BEAT_SECONDS = 10.0
_SLACK = 60.0  # seconds that a key outlives its cooldown, so that clocks may differ


class Progress:
    """The key of one message; writing it fails once another logger has taken it."""

    def __init__(
        self, bucket: Bucket, key: str, revision: int, sent: Sent, *, until: datetime, clock: Callable[[], datetime]
    ) -> None:
        """`sent`: what is noted at this revision. `until`: the end of the cooldown."""
        self.sent = sent
        self._bucket = bucket
        self._key = key
        self._revision = revision
        self._until = until
        self._clock = clock
        self._writing = asyncio.Lock()

    async def hold(self) -> bool:
        """Claim the message for a while; False if another logger was faster."""
        return await self._note(lambda sent: {})

    async def keep(self) -> None:
        """Keep other loggers from taking over, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(*buckets.Failed):
                await self.hold()

    async def begin(self, name: str) -> None:
        """Note that the message is about to leave for a channel; SendError if it must not."""
        if name in self.sent.sending:
            return  # another attempt
        try:
            is_noted = await self._note(lambda sent: {"sending": (*sent.sending, name)})
        except buckets.Failed as error:
            raise SendError(f"not sent: NATS could not record it: {type(error).__name__}") from None
        if not is_noted:
            raise SendError("another logger is sending it")

    async def reached(self, name: str) -> bool:
        """Note that a channel was reached; False if another logger has taken over."""
        return await self._note(
            lambda sent: {"reached": (*sent.reached, name), "sending": _without(sent.sending, name)}
        )

    async def finish(
        self, *, failed: dict[str, str], unknown: tuple[str, ...], attempts: int, busy_until: datetime | None
    ) -> None:
        """Note the outcome of an attempt. `unknown`: channels that are not tried again."""
        await self._note(
            lambda _: {
                "failed": failed,
                "sending": (),
                "unknown": unknown,
                "attempts": attempts,
                "is_done": not failed,
            },
            busy_until=busy_until,
        )

    async def _note(self, change: Callable[[Sent], dict[str, Any]], **stated: datetime | None) -> bool:
        async with self._writing:
            now = self._clock()
            busy = stated or {"busy_until": now + CLAIM}
            sent = msgspec.structs.replace(self.sent, **change(self.sent), **busy)
            ttl = (self._until - now).total_seconds() + _SLACK
            data = msgspec.json.encode(sent)
            revision = await self._bucket.replace(self._key, data, revision=self._revision, ttl=ttl)
            if revision is None:
                log.info("another logger is sending %s", self._key)
                return False
            self._revision = revision
            self.sent = sent
            return True


def _without(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(one for one in names if one != name)
