"""Lease for tasks that only one logger at a time may run."""

import logging
import socket
import uuid

from nats.js import JetStreamContext

from services.logger.alerts import bucket as buckets
from services.logger.alerts.bucket import Bucket
from shared.pricing import versions

log = logging.getLogger(__name__)

Failed = buckets.Failed
HOLDER = f"{socket.gethostname()} {uuid.uuid4().hex[:8]}"  # of this process


class LeaseLost(Exception):
    """Another logger has the lease by now, or NATS cannot be reached."""


class TaskLease:
    """The lease of a task: a key with a time to live that its holder renews."""

    def __init__(self, js: JetStreamContext, task: str, *, seconds: float, holder: str = HOLDER) -> None:
        """`seconds`: how long a lease lasts if it is not renewed, as after a kill."""
        self._bucket = Bucket(js, stream=versions.STREAM, prefix=versions.PREFIX)
        self._key = f"{versions.LEASE_KEY}{task}"
        self._seconds = seconds
        self._holder = holder.encode()
        self._revision = 0

    async def take(self) -> bool:
        """Take the lease if nobody else has it; raises one of `Failed`."""
        value, revision = await self._bucket.get(self._key)
        if value is not None and value != self._holder:
            return False
        return await self._write(revision)

    async def renew(self) -> None:
        """Renew the lease; LeaseLost if that fails."""
        try:
            if await self._write(self._revision):
                return
        except Failed as error:
            raise LeaseLost(type(error).__name__) from None
        raise LeaseLost("another logger has it")

    async def _write(self, revision: int) -> bool:
        written = await self._bucket.replace(self._key, self._holder, revision=revision, ttl=self._seconds)
        self._revision = written or 0
        return written is not None
