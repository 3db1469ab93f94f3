"""Reads and writes the logger's own entries in a bucket, such as that of alerts."""

import math

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext, api

from shared.accounts_kv import removes
from shared.alerts.model import ALERTS_BUCKET, ALERTS_STREAM

PREFIX = f"$KV.{ALERTS_BUCKET}."
Failed = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
_CONFLICTS = (10071, 10164)  # JetStream errors: wrong last sequence of the subject


class Bucket:
    """Keys with a time to live; every method may raise one of `Failed`."""

    def __init__(self, js: JetStreamContext, *, stream: str = ALERTS_STREAM, prefix: str = PREFIX) -> None:
        self._js = js
        self._stream = stream
        self._prefix = prefix

    async def get(self, key: str) -> tuple[bytes | None, int]:
        """Return a key's value and revision; None and 0 if there is none."""
        try:
            message = await self._js.get_last_msg(self._stream, self._prefix + key, direct=True)
        except nats.js.errors.NotFoundError:
            return None, 0
        revision = message.seq or 0
        return (None if removes(message.headers) else message.data or b""), revision

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        """Write a key, which vanishes after `ttl` seconds."""
        await self._js.publish(self._prefix + key, value, stream=self._stream, msg_ttl=_whole(ttl))

    async def replace(self, key: str, value: bytes, *, revision: int, ttl: float) -> int | None:
        """Write a key if it is still at `revision`; 0: if there is none.

        Returns the new revision, None if somebody else wrote in between.
        """
        headers = {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        try:
            ack = await self._js.publish(
                self._prefix + key, value, stream=self._stream, headers=headers, msg_ttl=_whole(ttl)
            )
        except nats.js.errors.APIError as error:
            if error.err_code in _CONFLICTS:
                return None
            raise
        return ack.seq


def _whole(seconds: float) -> float:
    """The server's times to live are whole seconds, at least one."""
    return max(1, math.ceil(seconds))
