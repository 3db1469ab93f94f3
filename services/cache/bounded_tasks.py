"""Background tasks, bounded in number and in the bytes they hold."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from shared.process import cancel_and_wait


class BoundedTasks:
    """Running tasks with the bytes that each holds."""

    def __init__(self, *, max_tasks: int, max_bytes: int) -> None:
        self._max_tasks = max_tasks
        self._max_bytes = max_bytes
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def is_full(self) -> bool:
        """Whether another task must be refused, because nothing is queued."""
        return len(self._tasks) >= self._max_tasks or self._bytes >= self._max_bytes

    def start(self, work: Coroutine[Any, Any, None], *, size: int = 0) -> None:
        """Run a task in the background; it holds `size` bytes until it is done."""
        task = asyncio.create_task(work)
        self._tasks[task] = size
        self._bytes += size
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._bytes -= self._tasks.pop(task)

    async def finish(self, seconds: float) -> int:
        """Wait for all tasks, cancel those left after `seconds`; returns how many."""
        if not self._tasks:
            return 0
        _, unfinished = await asyncio.wait(self._tasks, timeout=seconds)
        await asyncio.gather(*map(cancel_and_wait, unfinished))
        return len(unfinished)
