"""How far the demo is in; one live line on a terminal out, or a line now and then where nobody's terminal it is."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

_EVERY, _EVERY_LINE = 0.25, 10.0  # seconds between two looks


class Screen:
    """Everything that the demo says."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, markup=False)

    @contextlib.asynccontextmanager
    async def progress(self, line: Callable[[], str]) -> AsyncIterator[None]:
        """Show `line()` again and again while the block runs; its last words stay."""
        showing = asyncio.create_task(self._live(line) if self._console.is_terminal else self._lines(line))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            self.say(line())

    async def _live(self, line: Callable[[], str]) -> None:
        with Live(console=self._console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(Text(line(), no_wrap=True, overflow="ellipsis"), refresh=True)
                await asyncio.sleep(_EVERY)

    async def _lines(self, line: Callable[[], str]) -> None:
        said = time.monotonic()
        while True:
            await asyncio.sleep(_EVERY)
            if time.monotonic() - said >= _EVERY_LINE:
                said = time.monotonic()
                self.say(line())
