"""An event loop on whose clock stalls of the process take no time, so that no timeout of a test ends early for them."""

import asyncio
import selectors
import time
from typing import Any

_BUSY_SECONDS = 0.01  # maximum that the callbacks of one turn of the loop take on its clock


class _Selector(selectors.DefaultSelector):
    """Measures the time that the loop waits, and a little for what it does in between."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = self._left = time.monotonic()

    def select(self, timeout: float | None = None) -> list[Any]:
        began = time.monotonic()
        ready = super().select(timeout)
        returned = time.monotonic()
        waited = returned - began
        self.passed += min(began - self._left, _BUSY_SECONDS)
        self.passed += waited if timeout is None else min(waited, max(timeout, 0.0))
        self._left = returned
        return ready


class StallFreeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on while it waits, for no longer than it meant to.

    On a busy machine a process may stand still for seconds at any point. Here nothing is late for that: client, gateway
    and provider of a test stand still together, and go on before a timer that is not the very next one.
    """

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        """The time of the loop, in seconds."""
        return self._clock.passed
