"""Retries of sending: three attempts, each with a time limit."""

import asyncio
from collections.abc import Awaitable, Callable

from services.logger.alerts.message import SendError

_PAUSES = (1.0, 4.0)  # seconds between attempts, at least

Sleep = Callable[[float], Awaitable[None]]
Begin = Callable[[], Awaitable[None]]  # called just before a message leaves; raises SendError if it must not


async def at_once() -> None:
    """Begin without further ado."""


class Temporary(SendError):
    """A failure that another attempt may overcome, after a pause."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


async def repeat(attempt: Callable[[], Awaitable[None]], *, seconds: float, sleep: Sleep) -> None:
    """Try until it succeeds; SendError if it fails permanently or three times."""
    for pause in (*_PAUSES, None):
        try:
            async with asyncio.timeout(seconds):
                return await attempt()
        except TimeoutError:
            failure = Temporary(f"no response within {seconds:.0f} s")
        except Temporary as error:
            failure = error
        if pause is None:
            raise SendError(str(failure)) from None
        await sleep(max(pause, failure.pause))
    raise AssertionError("unreachable")
