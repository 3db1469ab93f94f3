"""Leases: the right to call the provider for a key while identical requests wait.

A lease is a message in a separate stream, under its key. Its number is the message's sequence number, and it expires
with the message after seconds. Replicas keep no lease state.
"""

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError

from shared import cache_protocol

SECONDS = 2.0  # timeout for JetStream requests that no lookup waits for
_CONFLICTS = (10071, 10164)  # JetStream errors: wrong last sequence of the subject


class Leases:
    """Takes, renews and frees leases; every method may fail like a JetStream request."""

    def __init__(self, nc: Client, *, timeout: float) -> None:
        """`timeout`: seconds for taking a lease, which is part of a lookup."""
        self._taking = nc.jetstream(timeout=timeout)
        self._js = nc.jetstream(timeout=SECONDS)

    async def take(self, key: str) -> int | None:
        """Take the key's lease; returns its number, None if it is held already."""
        return await self._write(self._taking, key, after=0)

    async def renew(self, key: str, number: int) -> int | None:
        """Extend a lease by its full duration; returns its new number, None if lost."""
        return await self._write(self._js, key, after=number) if number > 0 else None

    async def free(self, key: str, number: int) -> None:
        """End exactly this lease, neither a later one of the key nor another key's."""
        if number > 0:
            subject = cache_protocol.LEASES_SUBJECT + key
            await self._js.purge_stream(cache_protocol.LEASES_STREAM, seq=number + 1, subject=subject)

    async def _write(self, js: JetStreamContext, key: str, *, after: int) -> int | None:
        try:
            ack = await js.publish(
                cache_protocol.LEASES_SUBJECT + key,
                stream=cache_protocol.LEASES_STREAM,
                headers={api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(after)},
                msg_ttl=cache_protocol.LEASE_SECONDS,
            )
            return ack.seq
        except APIError as error:
            if error.err_code in _CONFLICTS:
                return None
            raise
