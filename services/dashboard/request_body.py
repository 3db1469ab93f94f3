"""Reads bodies of requests, which have to arrive in time."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web
from multidict import MultiDictProxy

T = TypeVar("T")

BODY_SECONDS = 20.0  # for all of at most 64 KB


async def read(request: web.Request) -> bytes:
    """Return the body; 408 if it is too slow, 413 if it is too large."""
    return await _in_time(request.read())


async def form(request: web.Request) -> MultiDictProxy[str | bytearray | bytes | web.FileField]:
    """Return the fields of a form; 408 if it is too slow, 413 if it is too large."""
    return await _in_time(request.post())


async def _in_time(reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await reading
    except TimeoutError:
        text = f"The body of the request did not arrive within {BODY_SECONDS:g} seconds."
        raise web.HTTPRequestTimeout(text=text) from None
