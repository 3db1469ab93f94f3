"""Retries with exponential backoff until an attempt succeeds."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Called after a failed attempt with its error, the number of failures, and seconds until the next attempt.
Failed = Callable[[BaseException, int, float], None]


async def until_done(
    attempt: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[BaseException], ...],
    first: float,
    most: float | None = None,
    failed: Failed | None = None,
) -> T:
    """Retry an attempt while it raises one of the errors `on`; return its result.

    The pause between attempts is `first` seconds and doubles up to `most`. Other errors are raised.
    """
    pause = first
    for failures in itertools.count(1):
        try:
            return await attempt()
        except on as error:
            if failed is not None:
                failed(error, failures, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, most or first)
    raise AssertionError("unreachable")
