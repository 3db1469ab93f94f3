"""Permits of one minute, leased from a counter that several gateways share."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.limits.window import Window


class Counter:
    """A counter as NATS keeps it; `is_away` makes it fail."""

    def __init__(self) -> None:
        self.value = 0
        self.calls = 0
        self.is_away = False

    async def add(self, by: int) -> int:
        self.calls += 1
        if self.is_away:
            raise TimeoutError
        self.value += by
        total = self.value
        await asyncio.sleep(0)
        return total


def window(limit: int, increment: Callable[[int], Awaitable[int]], gateways: int = 1) -> Window:
    return Window(limit, increment, share=lambda amount: max(amount // gateways, 1))


async def taken(windows: list[Window], tries: int) -> int:
    return sum(await asyncio.gather(*(windows[number % len(windows)].take() for number in range(tries))))


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
async def test_three_gateways_together_grant_exactly_the_limit(limit: int) -> None:
    counter = Counter()
    assert await taken([window(limit, counter.add) for _ in range(3)], 2 * limit + 10) == limit


@given(limit=st.integers(1, 300), bursts=st.lists(st.integers(0, 60), max_size=12), gateways=st.integers(1, 4))
def test_bursts_are_granted_up_to_the_limit_and_never_beyond(limit: int, bursts: list[int], gateways: int) -> None:
    async def run() -> int:
        counter = Counter()
        windows = [window(limit, counter.add) for _ in range(gateways)]
        return sum([await taken(windows, burst) for burst in bursts])

    granted = asyncio.run(run())
    ahead = (gateways - 1) * max(limit // 100, 0)  # permits that other gateways have leased ahead
    assert min(sum(bursts), limit) - ahead <= granted <= limit


async def test_large_limit_is_leased_many_permits_at_a_time() -> None:
    counter = Counter()
    one = window(60_000, counter.add)
    for _ in range(5000):
        assert await one.take()
    assert counter.calls < 100


async def test_without_nats_a_gateway_grants_its_share_and_reports_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    counter.is_away = True
    one = window(90, counter.add, gateways=3)
    assert [await one.take() for _ in range(40)] == [True] * 30 + [False] * 10
    assert one.granted_alone == 30
    assert counter.calls <= 2  # not one for each request
    counter.is_away = False
    monkeypatch.setattr(one, "_retry_at", 0.0)
    assert await one.take()
    assert counter.value == 31


async def test_cancelled_request_does_not_hold_up_the_others() -> None:
    counter = Counter()
    one = window(10, counter.add)
    first = asyncio.ensure_future(one.take())
    second = asyncio.ensure_future(one.take())
    await asyncio.sleep(0)
    first.cancel()
    assert await second
