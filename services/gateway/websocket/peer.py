"""One side of a relayed connection: its bytes, with backpressure both ways."""

import asyncio
from typing import Any

_HIGH = 128 << 10  # bytes that are read ahead
_FLUSH_SECONDS = 5.0  # for a closed side to take what was written


class Peer:
    """Client or provider, over aiohttp's protocol of the connection after its upgrade.

    aiohttp feeds it as the connection's parser. Reading pauses while bytes wait to be relayed, so a slow reader on one
    side slows the writer on the other.
    """

    def __init__(self, protocol: Any, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport
        self._parts: list[bytes] = []
        self._size = 0
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False  # nothing more will arrive

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from the connection: called by aiohttp."""
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size > _HIGH and not self._paused:
            self._paused = True
            self._protocol.pause_reading()
        self._wake()
        return False, b""

    def feed_eof(self) -> None:
        """Note that the connection has ended: called by aiohttp."""
        self.ended = True
        self._wake()

    async def read(self) -> bytes:
        """Return what has arrived, b"" at the end of the connection."""
        while not self._parts:
            if self.ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._size = 0
        if self._paused:
            self._paused = False
            self._protocol.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Send bytes, without waiting until they are taken."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the other side takes bytes; ConnectionError if it is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        if self._protocol.writing_paused:
            await self._protocol._drain_helper()

    def close(self) -> None:
        """Close the connection once everything is written.

        At the latest after a few seconds: the side may never read it.
        """
        self._transport.close()
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._transport.abort)

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
