"""Retries that go on until an attempt succeeds."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# After an attempt that failed: its error, the number of failures so far, seconds until the next attempt.
Failed = Callable[[BaseException, int, float], None]


async def until_done(
    attempt: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[BaseException], ...],
    first: float,
    most: float | None = None,
    failed: Failed | None = None,
) -> T:
    """The result of the first attempt that does not end with one of the errors `on`; every other error is raised.

    The pause between attempts is `first` seconds, and doubles up to `most`.
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
