"""The demo's output: permanent lines, and one live line on a terminal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

_SECONDS, _SECONDS_A_LINE = 0.25, 10.0  # between two updates, on a terminal and elsewhere
_console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a permanent line."""
    _console.print(text, markup=False)


@contextlib.asynccontextmanager
async def progress(line: Callable[[], str]) -> AsyncIterator[None]:
    """Refresh `line()` while the block runs; the last one stays."""
    showing = asyncio.create_task(_show(line))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        say(line())


async def _show(line: Callable[[], str]) -> None:
    if _console.is_terminal:
        with Live(console=_console, transient=True, auto_refresh=False) as live:
            while True:
                live.update(Text(line(), no_wrap=True, overflow="ellipsis"), refresh=True)
                await asyncio.sleep(_SECONDS)
    while True:
        await asyncio.sleep(_SECONDS_A_LINE)
        say(line())
