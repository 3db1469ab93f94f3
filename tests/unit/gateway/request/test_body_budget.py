"""Request bodies share their memory: nobody gets more than there is, and none waits for ever."""

import asyncio

import pytest

from services.gateway.request.body_budget import BodyBudget, Reservation
from services.gateway.request.errors import Refusal
from services.gateway.settings import Settings
from services.gateway.usage.prompt_store import PromptStore

KB = 1 << 10
MB = 1 << 20


async def test_a_body_waits_for_room_and_the_first_that_fits_is_let_in() -> None:
    budget = BodyBudget(4 * MB, seconds=10, reserve=2 * MB)
    first, second = [await budget.reserve(account, 2 * MB) for account in ("a", "b")]
    waiting = [asyncio.create_task(budget.reserve(account, size)) for account, size in (("a", 2 * MB), ("c", MB))]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    second.release()
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [False, True]  # account a has its half already
    first.release()
    await asyncio.gather(*waiting)
    assert budget.reserved_bytes == 3 * MB


def default_budget() -> BodyBudget:
    settings = Settings(nats_url="")
    return BodyBudget(settings.body_budget_bytes, seconds=30, reserve=settings.max_body_bytes)


async def test_a_thousand_bodies_of_one_account_are_all_served_and_others_at_once() -> None:
    budget = default_budget()
    held: list[Reservation] = []

    async def send() -> None:
        held.append(await budget.reserve("busy", 300_000, buffered=96 * KB))

    sending = [asyncio.create_task(send()) for _ in range(1000)]
    await asyncio.sleep(0)
    assert 300 < len(held) < 1000  # the others wait
    assert budget.reserved_bytes <= 96 * MB
    largest = await budget.reserve("other", 32 * MB)
    assert budget.reserved_bytes <= 128 * MB
    largest.release()
    while held:
        held.pop().release()
        assert budget.reserved_bytes <= 128 * MB
        await asyncio.sleep(0)
    await asyncio.gather(*sending)
    assert (budget.reserved_bytes, budget.refused) == (0, 0)


async def test_bodies_that_wait_are_bounded_and_one_account_leaves_others_a_place() -> None:
    budget = default_budget()
    held = [await budget.reserve(account, 32 * MB) for account in ("a", "b", "c", "d")]
    waiting = [asyncio.create_task(budget.reserve("busy", MB, buffered=96 * KB)) for _ in range(5000)]
    await asyncio.sleep(0)
    refused = sum(task.done() for task in waiting)
    assert (5000 - refused) * 128 * KB == 96 * MB  # each takes 32 KB beside what has come of its body
    other = asyncio.create_task(budget.reserve("other", 32 * MB))
    await asyncio.sleep(0)
    for _ in range(2):  # the first room goes to who came first
        held.pop().release()
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert other.done()
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_body_too_large_for_now_that_gives_up_lets_smaller_ones_in() -> None:
    budget = BodyBudget(4 * MB, seconds=10, reserve=MB)
    held = await budget.reserve("a", 2 * MB)
    large = asyncio.create_task(budget.reserve("a", 2 * MB))
    await asyncio.sleep(0)
    small = asyncio.create_task(budget.reserve("b", 2 * MB))
    await small
    behind = asyncio.create_task(budget.reserve("a", MB))
    await asyncio.sleep(0)
    (await small).release()
    assert not large.done()
    large.cancel()
    await asyncio.wait_for(behind, 60)
    held.release()
    assert budget.reserved_bytes == MB


async def test_the_account_that_holds_least_is_admitted_first() -> None:
    budget = BodyBudget(4 * MB, seconds=10, reserve=MB)
    first = [await budget.reserve("busy", MB) for _ in range(3)]
    other = await budget.reserve("third", MB)
    busy = asyncio.create_task(budget.reserve("busy", MB))
    await asyncio.sleep(0)
    fresh = asyncio.create_task(budget.reserve("fresh", MB))
    await asyncio.sleep(0)
    first.pop().release()
    await asyncio.sleep(0)
    assert (busy.done(), fresh.done()) == (False, True)
    other.release()
    await busy
    assert budget.reserved_bytes == 4 * MB


async def test_releasing_a_reservation_twice_frees_its_room_once() -> None:
    budget = BodyBudget(MB, seconds=1, reserve=MB)
    reservation = await budget.reserve("a", 100 * KB)
    reservation.release()
    reservation.release()
    assert budget.reserved_bytes == 0


async def test_a_body_without_room_is_refused_in_time_and_a_small_one_at_once() -> None:
    budget = BodyBudget(MB, seconds=0.05, reserve=MB)
    await budget.reserve("a", MB)
    for size in (KB, 500 * KB):
        with pytest.raises(Refusal) as refused:
            await asyncio.wait_for(budget.reserve("b", size), 60)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert (budget.reserved_bytes, budget.refused) == (MB, 2)


async def test_a_body_larger_than_the_budget_passes_when_it_is_alone() -> None:
    budget = BodyBudget(MB, seconds=0.05, reserve=MB)
    assert (await budget.reserve("a", 3 * MB)).size == 3 * MB


async def test_cancelled_waiters_do_not_hold_room() -> None:
    budget = BodyBudget(2 * MB, seconds=10, reserve=MB)
    held = await budget.reserve("a", 2 * MB)
    waiting = [asyncio.create_task(budget.reserve("b", MB)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    held.release()  # in the same moment
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert budget.reserved_bytes == MB  # the third's


async def test_a_body_of_unknown_length_grows_until_there_is_no_room() -> None:
    budget = BodyBudget(MB, seconds=1, reserve=MB)
    other = budget.hold("b", 400 * KB)
    reservation = await budget.reserve("a", 100 * KB)
    reservation.grow(400 * KB)
    with pytest.raises(Refusal):
        reservation.grow(900 * KB)
    reservation.release()
    other.release()
    assert budget.reserved_bytes == 0


def test_prompts_are_kept_as_they_are_then_compressed_then_not_at_all() -> None:
    store = PromptStore(raw_bytes=200 * KB, packed_bytes=20)
    body = b"some words " * 10_000
    kept = [store.keep(body) for _ in range(4)]
    assert [one.read() == body for one in kept] == [True, True, False, False]
    assert store.kept < 120 * KB
    for one in kept:
        one.drop()
        one.drop()
    assert store.kept == 0
    assert store.keep(body).read() == body


def test_a_prompt_too_large_to_be_counted_is_not_kept() -> None:
    store = PromptStore()
    assert store.keep(b"x" * (3 * MB)).read() == b""
    assert store.kept == 0
