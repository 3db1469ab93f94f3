"""Streams an export so that its client never mistakes a part for the whole.

Memory holds one block at a time, whatever the client's pace. A failure on the way breaks the connection off. When the
client leaves, or stops reading, the query ends.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from aiohttp import web

from services.dashboard.queries.export import ExportFailed
from shared.process import cancel_and_wait

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_EXPORTS = 2  # concurrent, each of the pages and of the API
UNREAD_SECONDS = 60.0  # for the client to read a block
_CHECK_SECONDS = 0.5  # between two looks whether the client is still there


@contextlib.contextmanager
def place(gate: list[web.Request], request: web.Request) -> Iterator[None]:
    """Occupy a place among the concurrent exports; 429 if there is none."""
    if len(gate) >= MAX_EXPORTS:
        raise web.HTTPTooManyRequests(text="Too many exports at once.", headers={"Retry-After": "10"})
    gate.append(request)
    try:
        yield
    finally:
        gate.remove(request)


async def send(
    request: web.Request, response: web.StreamResponse, blocks: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """Send the blocks as the body of `response`; 503 if the first one fails."""
    async with contextlib.aclosing(blocks):
        try:
            block = await _while_connected(request, anext(blocks, b""))
        except ExportFailed as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        except ConnectionError:
            return response
        await response.prepare(request)
        try:
            while block:
                async with asyncio.timeout(UNREAD_SECONDS):
                    await response.write(block)
                block = await _while_connected(request, anext(blocks, b""))
            await response.write_eof()
        except ExportFailed as error:
            _break_off(request, str(error))
        except TimeoutError:
            _break_off(request, "the client has stopped reading")
        except ConnectionError:
            log.info("export aborted: the client has left")
        return response


async def _while_connected(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; cancel it and raise ConnectionResetError once the client has left."""
    task = asyncio.create_task(work)
    try:
        while not task.done():
            if request.transport is None:
                raise ConnectionResetError
            await asyncio.wait([task], timeout=_CHECK_SECONDS)
        return task.result()
    finally:
        await cancel_and_wait(task)


def _break_off(request: web.Request, reason: str) -> None:
    log.warning("export aborted: %s", reason)
    if request.transport is not None:
        request.transport.abort()
