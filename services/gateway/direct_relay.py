"""Relays chunks of a stream as they are read, without waking the request's task."""

import asyncio
import contextvars
from collections.abc import Callable

from aiohttp import StreamReader

from services.gateway.passthrough_response import PassthroughResponse
from services.gateway.upstream.http_call import DirectResponse


class DirectRelay:
    """Relay of a chunked response, whose head was sent, to its client.

    The task waits until only it can go on: the body has ended or failed, or the client reads too slowly.
    """

    __slots__ = (
        "_account",
        "_at_once",
        "_content",
        "_context",
        "_has_more",
        "_is_reading",
        "_response",
        "_upstream",
        "_woken",
    )

    def __init__(
        self,
        upstream_response: DirectResponse,
        response: PassthroughResponse,
        account: Callable[[bytes], bytes],
        *,
        at_once: int = -1,
    ) -> None:
        """`account`: accounts for a chunk, and returns what the client gets of it.

        `at_once`: bytes after which other requests have their turn; -1: as many as there are.
        """
        self._upstream = upstream_response
        self._content: StreamReader = upstream_response.content
        self._response = response
        self._account = account
        self._at_once = at_once
        self._context = contextvars.copy_context()  # what is logged names the request
        self._woken: asyncio.Future[None] | None = None
        self._is_reading = False
        self._has_more = False

    async def run(self) -> None:
        """Relay until the task is needed; raises what accounting or writing raised."""
        self._woken = asyncio.get_running_loop().create_future()
        self._upstream.listen(self._arrived)
        try:
            self._arrived()
            await self._woken
        finally:
            self._upstream.listen(None)
            self._woken = None

    def _arrived(self) -> None:
        """Relay what has arrived."""
        self._has_more = True
        if not self._is_reading:  # reading may resume a paused connection, which calls this again
            self._context.run(self._relay)

    def _relay(self) -> None:
        content = self._content
        while self._has_more and self._woken is not None and not self._woken.done():
            if content.is_eof() or content.exception() is not None:
                self._woken.set_result(None)
                return
            self._has_more = False
            self._is_reading = True
            data = content.read_nowait(self._at_once)
            self._is_reading = False
            if data:
                try:
                    data = self._account(data)
                    if data and not self._response.write_at_once(data):
                        self._woken.set_result(None)
                except Exception as error:
                    self._woken.set_exception(error)
            if len(data) == self._at_once:  # there may be more
                asyncio.get_running_loop().call_soon(self._arrived)
                return
