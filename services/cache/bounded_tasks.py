"""Requests that wait for NATS: begun, bounded in number and bytes, and ended in good order or cut."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from shared.process import cancel_and_wait


class BoundedTasks:
    """Tasks, each with the bytes that it holds on to."""

    def __init__(self, *, most: int, most_bytes: int) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def full(self) -> bool:
        """Whether one more is too many: then it is refused at once, for nobody waits in a line."""
        return len(self._tasks) >= self._most or self._bytes >= self._most_bytes

    def begin(self, work: Coroutine[Any, Any, None], *, size: int = 0) -> None:
        """Do it beside the rest; `size` bytes are held until it ends."""
        task = asyncio.create_task(work)
        self._tasks[task] = size
        self._bytes += size
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._bytes -= self._tasks.pop(task)

    async def finish(self, seconds: float) -> int:
        """Wait until all has ended, cut what has not after `seconds`; how many that were."""
        if not self._tasks:
            return 0
        _, cut = await asyncio.wait(self._tasks, timeout=seconds)
        await asyncio.gather(*map(cancel_and_wait, cut))
        return len(cut)
