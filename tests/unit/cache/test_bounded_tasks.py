"""Requests in hand: what is too much is known at once, what has not ended in time is cut and counted."""

import asyncio
from collections.abc import Callable

from services.cache.bounded_tasks import BoundedTasks


async def test_too_many_or_too_much_is_full_until_one_ends() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    tasks = BoundedTasks(max_tasks=2, max_bytes=100)
    tasks.start(_wait(gates[0]), size=10)
    assert not tasks.is_full
    tasks.start(_wait(gates[1]), size=10)
    assert tasks.is_full
    gates[0].set()
    await _until(lambda: not tasks.is_full)
    gates[1].set()
    await _until(lambda: len(tasks) == 0)
    tasks.start(_wait(gates[2]), size=100)
    assert tasks.is_full
    gates[2].set()
    assert await tasks.finish(5) == 0
    assert not tasks.is_full


async def test_a_stop_waits_for_what_ends_and_cuts_and_counts_the_rest() -> None:
    gate, tasks, ended = asyncio.Event(), BoundedTasks(max_tasks=9, max_bytes=9), asyncio.Event()

    async def soon() -> None:
        await asyncio.sleep(0)
        ended.set()

    tasks.start(soon())
    tasks.start(_wait(gate))
    tasks.start(_wait(gate))
    assert await tasks.finish(0.05) == 2
    assert ended.is_set()
    assert len(tasks) == 0
    assert await BoundedTasks(max_tasks=1, max_bytes=1).finish(5) == 0


async def _wait(gate: asyncio.Event) -> None:
    await gate.wait()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)
