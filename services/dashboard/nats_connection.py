"""The dashboard's NATS connection, which fails fast while NATS is unreachable."""

import asyncio

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from shared import nats_client

NATS_ERRORS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
TIMEOUT_SECONDS = 5.0
UNREACHABLE = "NATS is unreachable."
SIGN_IN_UNAVAILABLE = "Sign-in is temporarily unavailable (NATS unreachable)."


class Unavailable(Exception):
    """NATS is unreachable; the message is for the page."""


class NatsConnection:
    """A NATS connection; while it is down, `nc` and `js` raise Unavailable."""

    def __init__(self) -> None:
        self._nc: Client | None = None
        self.established = asyncio.Event()  # set by the first connection

    async def connect(self, url: str, *, ca_file: str = "") -> None:
        """Connect, retrying until it succeeds; after that nats-py reconnects by itself."""
        if self._nc is None:
            self._nc = await nats_client.connect(url, service="dashboard", ca_file=ca_file)
            self.established.set()

    async def close(self) -> None:
        """Close the connection."""
        if self._nc is not None:
            await self._nc.close()

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""
        return self._nc is not None and self._nc.is_connected

    @property
    def client(self) -> Client:
        """The client, also while it reconnects; only after `established`."""
        assert self._nc is not None
        return self._nc

    @property
    def nc(self) -> Client:
        """The connection; raises Unavailable while it is down."""
        if self._nc is None or not self._nc.is_connected:
            raise Unavailable("Changes are temporarily unavailable (NATS unreachable). Nothing was changed.")
        return self._nc

    @property
    def js(self) -> JetStreamContext:
        """JetStream; raises Unavailable while the connection is down."""
        return self.nc.jetstream(timeout=TIMEOUT_SECONDS)
