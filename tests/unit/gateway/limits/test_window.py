"""Permits of one minute, leased from a counter that several gateways share."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.gateway.limits.window import Window

START = 29_000_000 * 60


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """No lease times out on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.gateway.limits.window.TIMEOUT_SECONDS", 60.0)
        yield


class Counters:
    """Totals by minute as NATS keeps them; `is_away` makes each operation fail."""

    def __init__(self) -> None:
        self.totals: dict[int, int] = {}
        self.calls = 0
        self.is_away = False
        self.is_slow: asyncio.Event | None = None  # replies come once it is set

    def window(self, limit: int, *, gateways: int = 1, start: int = START, ahead: int = 1) -> Window:
        def share(amount: int) -> int:
            return max(amount // gateways, 1)

        return Window(limit, start=start, counter=_Counter(self, start), share=share, ahead=ahead)


class _Counter:
    """The counter of one minute."""

    def __init__(self, counters: Counters, start: int) -> None:
        self._counters = counters
        self._start = start

    async def add(self, by: int) -> int:
        counters = self._counters
        counters.calls += 1
        if counters.is_away:
            raise TimeoutError
        total = counters.totals[self._start] = counters.totals.get(self._start, 0) + by
        await asyncio.sleep(0)
        if counters.is_slow is not None:
            await counters.is_slow.wait()
        return total

    async def previous(self) -> int:
        if self._counters.is_away:
            raise TimeoutError
        return self._counters.totals.get(self._start - 60, 0)


async def taken(windows: list[Window], tries: int, now: float = START, amount: int = 1) -> int:
    """How many of the tries pass, made at once and in turn by these gateways."""
    return sum(await asyncio.gather(*(windows[number % len(windows)].take(now, amount) for number in range(tries))))


async def settled(windows: list[Window]) -> None:
    """Wait until nothing is under way to the counter."""
    for window in windows:
        if window._leasing is not None:
            await window._leasing


@pytest.mark.parametrize("limit", [1, 7, 100, 1000])
async def test_three_gateways_together_grant_exactly_the_limit(limit: int) -> None:
    counters = Counters()
    assert await taken([counters.window(limit) for _ in range(3)], 2 * limit + 10) == limit


@given(limit=st.integers(1, 300), bursts=st.lists(st.integers(0, 60), max_size=12), gateways=st.integers(1, 4))
def test_bursts_are_granted_up_to_the_limit_and_never_beyond(limit: int, bursts: list[int], gateways: int) -> None:
    async def run() -> int:
        counters = Counters()
        windows = [counters.window(limit) for _ in range(gateways)]
        return sum([await taken(windows, burst) for burst in bursts])

    granted = asyncio.run(run())
    ahead = (gateways - 1) * max(limit // 100, 0)  # permits that other gateways have leased ahead
    assert min(sum(bursts), limit) - ahead <= granted <= limit


@example(limit=147, previous=1.0, bursts=[(3, 3), (1, 4)], gateways=3, amount=3)
@given(
    limit=st.integers(1, 300),
    previous=st.floats(0, 1),
    bursts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 80)), max_size=12),
    gateways=st.integers(1, 4),
    amount=st.integers(1, 3),
)
def test_minute_before_counts_by_its_share_of_the_last_60_seconds(
    limit: int, previous: float, bursts: list[tuple[int, int]], gateways: int, amount: int
) -> None:
    before = int(limit * previous)

    async def run() -> None:
        counters = Counters()
        counters.totals[START - 60] = before
        windows = [counters.window(limit) for _ in range(gateways)]
        granted = 0
        elapsed = 0
        for pause, tries in [*bursts, (5, 2 * limit)]:
            elapsed += pause
            granted += amount * await taken(windows, tries, START + elapsed, amount)
            await settled(windows)
            allowed = limit - before * (60 - elapsed) // 60
            assert granted <= allowed
            held = sum(window._permits for window in windows)
            assert counters.totals.get(START, 0) == granted + held, "what is not granted is given back"
            assert held <= gateways * max(limit // 100, 1)
        assert granted + held > allowed - amount, "what is left does not suffice for another request"

    asyncio.run(run())


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 60])
async def test_client_that_keeps_to_the_limit_evenly_is_never_refused(limit: int) -> None:
    counters = Counters()
    for minute in range(4):
        window = counters.window(limit, start=START + 60 * minute)
        for number in range(limit):
            assert await window.take(START + 60 * (minute + (number + 0.3) / limit)), (minute, number)


async def test_burst_at_the_turn_of_the_minute_gets_no_second_limit() -> None:
    counters = Counters()
    assert await taken([counters.window(100)], 300, START + 59.5) == 100
    after = counters.window(100, start=START + 60)
    assert await taken([after], 300, START + 60.5) == 1
    assert after.opens_at(START + 60.5) == pytest.approx(START + 60.6)
    assert await taken([after], 300, START + 62) == 3
    assert await taken([after], 300, START + 119.9) == 96


async def test_permits_given_back_after_the_minute_has_turned_are_granted_in_the_next() -> None:
    counters = Counters()
    counters.totals[START - 60] = 300  # 200 of them are about to be given back
    window = counters.window(200)
    assert await taken([window], 300, START + 30) == 100
    counters.totals[START - 60] = 100
    assert await taken([window], 300, START + 32) == 54, "of 200, less 100 * 28 / 60 and those granted"


async def test_refused_requests_ask_nats_no_more_than_once_a_second() -> None:
    counters = Counters()
    window = counters.window(10)
    assert await taken([window], 20, START + 1) == 10
    calls = counters.calls
    for number in range(40):
        assert not await window.take(START + 1 + number / 20)
    assert counters.calls - calls <= 2 * 3  # a lease, and what it got is given back
    assert window.opens_at(START + 3) == START + 60
    assert window.remaining(START + 3) == 0


async def test_large_limit_is_leased_many_permits_at_a_time() -> None:
    counters = Counters()
    one = counters.window(60_000)
    for _ in range(5000):
        assert await one.take(START)
    assert counters.calls < 100


async def test_unused_permits_are_given_back_at_the_end() -> None:
    counters = Counters()
    one = counters.window(1000)
    other = counters.window(1000)
    for _ in range(40):
        assert await one.take(START)
    assert counters.totals[START] > 40
    await one.close()
    assert counters.totals[START] == 40
    assert await taken([other], 2000) == 960
    away = counters.window(1000, start=START + 60)
    assert await taken([away], 20, START + 119) == 20
    counters.is_away = True
    await away.close()  # NATS is away at the end, too


async def test_permits_that_were_put_back_serve_another_request() -> None:
    counters = Counters()
    one = counters.window(2)
    assert await taken([one], 3) == 2
    one.put_back(1)
    assert one.remaining(START) == 1
    assert await taken([one], 2) == 1


async def test_giving_back_is_not_repeated_if_it_may_have_been_counted() -> None:
    counters = Counters()
    one = counters.window(10)
    assert await one.take(START, 10)
    counters.is_away = True
    one.put_back(9)
    await settled([one])
    counters.is_away = False
    one._retry_at = 0.0
    assert await taken([one], 20, START + 2) == 1  # the one permit that is kept ahead
    await settled([one])
    assert counters.totals[START] == 10


async def test_small_requests_pass_where_a_large_one_is_refused() -> None:
    counters = Counters()
    one = counters.window(1000)
    assert await one.take(START, 700)
    results = await asyncio.gather(one.take(START, 400), one.take(START, 200))
    assert results == [False, True]
    assert await one.take(START, 90)
    assert one.remaining(START) == 10


async def test_without_nats_a_gateway_grants_its_share_and_reports_it_later(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters()
    counters.is_away = True
    one: Any = counters.window(90, gateways=3)
    assert [await one.take(START) for _ in range(40)] == [True] * 30 + [False] * 10
    assert one.allowed_alone == 30
    assert counters.calls <= 2  # not one for each request
    counters.is_away = False
    one._retry_at = 0.0
    assert await one.take(START)
    assert counters.totals[START] == 31


async def test_lease_whose_reply_comes_late_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.limits.window.TIMEOUT_SECONDS", 0.01)
    counters = Counters()
    one = counters.window(90, gateways=3)
    counters.is_slow = asyncio.Event()
    assert await taken([one], 40) == 30, "its share"
    assert counters.totals[START] == 40, "the lease has been counted"
    assert await one.take(START) is False
    counters.is_slow.set()
    await settled([one])
    assert counters.totals[START] == 31, "its share, and the permit that it keeps ahead"
    assert one.remaining(START) == 60
    assert await taken([one], 100) == 60
    assert counters.totals[START] == 90


@pytest.mark.parametrize("gateways", [1, 3])
async def test_counter_that_nats_has_lost_is_raised_again(gateways: int) -> None:
    counters = Counters()
    windows = [counters.window(300) for _ in range(gateways)]
    assert await taken(windows, 270) == 270
    await settled(windows)
    counters.totals.clear()
    passed = 270 + await taken(windows, 600)
    await settled(windows)
    assert passed == 300 if gateways == 1 else 300 <= passed <= 600, "at most a second limit"
    assert await taken(windows, 100, START + 2) == 0
    assert counters.totals[START] >= 300, "later gateways know"


async def test_repayment_whose_acknowledgement_is_lost_does_not_reset_the_counter() -> None:
    counters = Counters()
    one = counters.window(1000)
    assert await one.take(START, 500)
    counters.totals[START] -= 400  # counted, but the reply was lost
    counters.is_away = True
    one.put_back(400)
    await settled([one])
    counters.is_away = False
    one._retry_at = 0.0
    assert await one.take(START, 300)
    await settled([one])
    assert counters.totals[START] == 100 + 300


async def test_next_minute_leases_as_many_permits_as_this_one_needed() -> None:
    counters = Counters()
    one = counters.window(60_000)
    for _ in range(2000):
        assert await one.take(START)
    await settled([one])
    assert one.ahead == 600
    following = counters.window(60_000, start=START + 60, ahead=one.ahead // 2)
    calls = counters.calls
    assert await taken([following], 10, START + 60) == 10
    assert all(following.take_leased(START + 60) for _ in range(200)), "without waiting"
    await settled([following])
    assert counters.calls == calls + 2


async def test_cancelled_request_does_not_hold_up_the_others() -> None:
    one = Counters().window(10)
    first = asyncio.ensure_future(one.take(START))
    second = asyncio.ensure_future(one.take(START))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
