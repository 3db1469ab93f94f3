"""Reads bodies of requests, which have to arrive in time."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiDictProxy

T = TypeVar("T")

BODY_SECONDS = 20.0  # for all of at most 64 KB


async def read(request: web.Request) -> bytes:
    """Return the body; 400 if it is malformed, 408 if too slow, 413 if too large."""
    return await _in_time(request.read())


async def form(request: web.Request) -> MultiDictProxy[str | bytearray | bytes | web.FileField]:
    """Return a form's fields; 400 if malformed, 408 if too slow, 413 if too large."""
    return await _in_time(request.post())


async def _in_time(reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await reading
    except TimeoutError:
        text = f"The body of the request did not arrive within {BODY_SECONDS:g} seconds."
        raise web.HTTPRequestTimeout(text=text) from None
    except (web.RequestPayloadError, HttpProcessingError):
        text = "The body of the request is not framed, compressed or divided into parts as its headers say."
        raise web.HTTPBadRequest(text=text) from None
