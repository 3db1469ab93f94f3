"""The NATS connection goes in; changes that go through, or a plain word that they cannot be made now, come out."""

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from shared import nats_client

Failed = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
TIMEOUT_SECONDS = 5.0
UNREACHABLE = "NATS is unreachable."
SIGN_IN_UNAVAILABLE = "Sign-in is temporarily unavailable (NATS unreachable)."


class Unavailable(Exception):
    """NATS does not answer; the message is for the page."""


class AdminChanges:
    """NATS, there or not. Whoever asks while it is away is told at once."""

    def __init__(self) -> None:
        self._nc: Client | None = None

    async def follow(self, url: str, *, ca_file: str = "") -> None:
        """Connect, however long that takes; from then on the connection looks after itself."""
        if self._nc is None:
            self._nc = await nats_client.connect(url, service="dashboard", ca_file=ca_file)

    async def close(self) -> None:
        """End the connection."""
        if self._nc is not None:
            await self._nc.close()

    @property
    def connected(self) -> bool:
        """Whether NATS is there."""
        return self._nc is not None and self._nc.is_connected

    @property
    def nc(self) -> Client:
        """The connection; Unavailable while there is none."""
        if self._nc is None or not self._nc.is_connected:
            raise Unavailable("Changes are temporarily unavailable (NATS unreachable). Nothing was changed.")
        return self._nc

    @property
    def js(self) -> JetStreamContext:
        """JetStream; Unavailable while there is no connection."""
        return self.nc.jetstream(timeout=TIMEOUT_SECONDS)
