"""Who may call the provider for a key while others wait: a lease is granted to one, and ends by itself in seconds.

A lease is a message in a stream of its own, under its key, and its number the message's: it lives as long as the
message. Replicas hold nothing of it.
"""

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError

from shared import cache_protocol

SECONDS = 2.0  # to wait for an answer, where no lookup waits for it
_CONFLICTS = (10071, 10164)  # JetStream: the subject's last sequence is another than expected


class Leases:
    """Taken, renewed and freed; each may fail as a request to JetStream does."""

    def __init__(self, nc: Client, *, patience: float) -> None:
        """`patience`: seconds that taking one may take, as a part of a lookup."""
        self._taking = nc.jetstream(timeout=patience)
        self._js = nc.jetstream(timeout=SECONDS)

    async def take(self, key: str) -> int | None:
        """The new lease's number; None when somebody holds one."""
        return await self._write(self._taking, key, after=0)

    async def renew(self, key: str, number: int) -> int | None:
        """The lease's new number, for another full time; None when it is not held any more."""
        return await self._write(self._js, key, after=number) if number > 0 else None

    async def free(self, key: str, number: int) -> None:
        """End the key's lease of this number; nobody else's, neither a later one nor another key's."""
        if number > 0:
            subject = cache_protocol.LEASES_SUBJECT + key
            await self._js.purge_stream(cache_protocol.LEASES_STREAM, seq=number + 1, subject=subject)

    async def _write(self, js: JetStreamContext, key: str, *, after: int) -> int | None:
        try:
            acknowledged = await js.publish(
                cache_protocol.LEASES_SUBJECT + key,
                stream=cache_protocol.LEASES_STREAM,
                headers={api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(after)},
                msg_ttl=cache_protocol.LEASE_SECONDS,
            )
            return acknowledged.seq
        except APIError as error:
            if error.err_code in _CONFLICTS:
                return None
            raise
