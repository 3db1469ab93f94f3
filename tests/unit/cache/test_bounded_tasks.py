"""Requests in hand: what is too much is known at once, what has not ended in time is cut and counted."""

import asyncio
from collections.abc import Callable

from services.cache.bounded_tasks import BoundedTasks


async def test_too_many_or_too_much_is_full_until_one_ends() -> None:
    gates = [asyncio.Event() for _ in range(3)]
    hand = BoundedTasks(most=2, most_bytes=100)
    hand.begin(_wait(gates[0]), size=10)
    assert not hand.full
    hand.begin(_wait(gates[1]), size=10)
    assert hand.full
    gates[0].set()
    await _until(lambda: not hand.full)
    gates[1].set()
    await _until(lambda: len(hand) == 0)
    hand.begin(_wait(gates[2]), size=100)
    assert hand.full
    gates[2].set()
    assert await hand.finish(5) == 0
    assert not hand.full


async def test_a_stop_waits_for_what_ends_and_cuts_and_counts_the_rest() -> None:
    gate, hand, ended = asyncio.Event(), BoundedTasks(most=9, most_bytes=9), asyncio.Event()

    async def soon() -> None:
        await asyncio.sleep(0)
        ended.set()

    hand.begin(soon())
    hand.begin(_wait(gate))
    hand.begin(_wait(gate))
    assert await hand.finish(0.05) == 2
    assert ended.is_set()
    assert len(hand) == 0
    assert await BoundedTasks(most=1, most_bytes=1).finish(5) == 0


async def _wait(gate: asyncio.Event) -> None:
    await gate.wait()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)
