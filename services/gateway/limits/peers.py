"""Other gateways that share the limits."""

import asyncio
import contextlib
import time

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.limits.model import ALIVE_SUBJECT

BEAT_SECONDS = 3.0  # between two heartbeats
SILENCE_SECONDS = 10.0  # after which a gateway no longer counts


class Peers:
    """Gateways that were running lately, this one included."""

    def __init__(self, name: str) -> None:
        """`name`: of this gateway instance, for the others."""
        self._name = name
        self._nc: Client | None = None
        self._seen_at: dict[str, float] = {}  # other gateways, with the monotonic time of their last heartbeat

    async def follow(self, nc: Client) -> None:
        """Tell the other gateways that this one runs, and listen to them."""
        self._nc = nc
        await nc.subscribe(ALIVE_SUBJECT, cb=self._receive)
        while not nc.is_closed:
            if nc.is_connected:
                with contextlib.suppress(NatsError):  # the connection was lost just now
                    await nc.publish(ALIVE_SUBJECT, self._name.encode())
            await asyncio.sleep(BEAT_SECONDS)

    async def _receive(self, message: Msg) -> None:
        self._seen_at[message.data.decode(errors="replace")[:200]] = time.monotonic()

    def count(self) -> int:
        """Number of gateways."""
        oldest = time.monotonic() - SILENCE_SECONDS
        for name in [name for name, at in self._seen_at.items() if at < oldest]:
            if self._nc is not None and self._nc.is_connected:  # without NATS, no heartbeat arrives
                del self._seen_at[name]
        return len(self._seen_at.keys() | {self._name})
