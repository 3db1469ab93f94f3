"""An event loop whose clock runs on demand by its timers alone, so that a test measures waits and not the machine."""

import asyncio
import selectors
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Waits for the loop, or on an idle clock returns at once as if it had."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0
        self.idle_clock = False

    def select(self, timeout: float | None = None) -> list[Any]:
        if not self.idle_clock or timeout is None:
            return super().select(timeout)
        ready = super().select(min(timeout, 0.001))
        if not ready:
            self.waited += max(timeout, 0.0)
        return ready


class IdleClockLoop(asyncio.SelectorEventLoop):
    """An ordinary loop until `use_idle_clock`; from then on its time stands still but while it waits for nothing.

    Then nothing that takes time may happen outside of the loop: no server that answers, no thread.
    """

    def __init__(self) -> None:
        self._idle_selector = _Selector()
        self._base: float | None = None
        super().__init__(self._idle_selector)

    def use_idle_clock(self) -> None:
        """Let time pass only as timers are waited for."""
        self._base = super().time()
        self._idle_selector.idle_clock = True

    def time(self) -> float:
        """The time of the loop, in seconds."""
        return super().time() if self._base is None else self._base + self._idle_selector.waited

    async def shutdown_default_executor(self, *_: object) -> None:
        """Wait for all threads: Python 3.13 passes a timeout, which would be over at once."""
        await super().shutdown_default_executor()
