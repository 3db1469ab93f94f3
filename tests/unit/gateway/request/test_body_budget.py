"""Request bodies share their memory: nobody gets more than there is, and none waits for ever."""

import asyncio

import pytest

from services.gateway.request.body_budget import BodyBudget
from services.gateway.request.errors import Refusal
from services.gateway.usage.prompt_store import PromptStore

KB = 1 << 10
MB = 1 << 20


async def test_a_body_waits_for_room_and_the_first_that_fits_is_let_in() -> None:
    budget = BodyBudget(4 * MB, seconds=10)
    first, second = [await budget.reserve(account, 2 * MB) for account in ("a", "b")]
    waiting = [asyncio.create_task(budget.reserve(account, size)) for account, size in (("a", 2 * MB), ("c", MB))]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    second.release()
    await asyncio.sleep(0.01)
    assert [task.done() for task in waiting] == [False, True]  # account a has its half already
    first.release()
    await asyncio.gather(*waiting)
    assert budget.used == 3 * MB


async def test_room_is_given_back_once() -> None:
    budget = BodyBudget(MB, seconds=1)
    reservation = await budget.reserve("a", 100 * KB)
    reservation.release()
    reservation.release()
    assert budget.used == 0


async def test_a_body_without_room_is_refused_in_time_and_a_small_one_at_once() -> None:
    budget = BodyBudget(MB, seconds=0.05)
    await budget.reserve("a", MB)
    for size in (KB, 500 * KB):
        with pytest.raises(Refusal) as refused:
            await asyncio.wait_for(budget.reserve("b", size), 60)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
    assert (budget.used, budget.refused) == (MB, 2)


async def test_a_body_larger_than_the_budget_passes_when_it_is_alone() -> None:
    budget = BodyBudget(MB, seconds=0.05)
    assert (await budget.reserve("a", 3 * MB)).size == 3 * MB


async def test_whoever_leaves_while_waiting_takes_no_room_along() -> None:
    budget = BodyBudget(2 * MB, seconds=10)
    held = await budget.reserve("a", 2 * MB)
    waiting = [asyncio.create_task(budget.reserve("b", MB)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    held.release()  # in the same moment
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert budget.used == MB  # the third's


async def test_a_body_of_unknown_length_grows_until_there_is_no_room() -> None:
    budget = BodyBudget(MB, seconds=1)
    other = budget.hold("b", 400 * KB)
    reservation = await budget.reserve("a", 100 * KB)
    reservation.grow(400 * KB)
    with pytest.raises(Refusal):
        reservation.grow(900 * KB)
    reservation.release()
    other.release()
    assert budget.used == 0


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
