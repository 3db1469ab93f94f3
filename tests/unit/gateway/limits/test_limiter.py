"""A gateway's rate limiter whose counters are in memory."""

import asyncio
from collections import Counter

import pytest

from services.gateway.limits import limiter
from services.gateway.limits.limiter import Limiter
from tests.support.rate_limits import MINUTE, Limits, is_allowed, limit, request


class Bench:
    """A limiter, its limits, and what has been counted, by subject."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, amount: int) -> None:
        self.counted: Counter[str] = Counter()
        self.source = Limits(limit(amount, token="*"))
        self.limiter = Limiter(self.source, name="test")
        self.now = MINUTE
        monkeypatch.setattr(self.limiter._counters, "add", self._add)
        monkeypatch.setattr("services.gateway.limits.limiter.time.time", lambda: self.now)
        monkeypatch.setattr("services.gateway.limits.window.TIMEOUT_SECONDS", 60.0)  # a busy machine is no failure

    async def _add(self, subject: str, by: int) -> int:
        self.counted[subject] += by
        await asyncio.sleep(0)
        return self.counted[subject]

    def total(self, minute: float) -> int:
        return sum(total for subject, total in self.counted.items() if subject.endswith(f".{int(minute) // 60}"))

    def change(self, amount: int) -> None:
        self.source.found = [limit(amount, token="*")]

    async def allowed(self, tries: int) -> int:
        """How many pass of requests one after the other, two seconds later."""
        self.now += 2
        found = sum([await is_allowed(self.limiter) for _ in range(tries)])
        leasing = [one.window._leasing for one in self.limiter._current.values()]
        if pending := {*self.limiter._closing, *filter(None, leasing)}:
            await asyncio.wait(pending)
        return found


async def test_changed_limit_counts_on_and_strands_no_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, amount=10_000)
    assert await bench.allowed(1000) == 1000
    assert bench.total(MINUTE) > 1000, "some are leased ahead"
    bench.change(500)
    assert await bench.allowed(100) == 0
    bench.change(1300)
    assert await bench.allowed(10) + await bench.allowed(1000) == 300
    bench.change(10_000)
    assert await bench.allowed(200) == 200
    await bench.limiter.close()
    assert bench.total(MINUTE) == 1500


async def test_turn_of_the_minute_leases_what_the_minute_before_did(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, amount=60_000)
    assert await bench.allowed(2000) == 2000
    bench.now += 60
    leases = bench.limiter.leases
    assert await bench.allowed(10) == 10
    assert await bench.allowed(100) == 100
    assert bench.limiter.leases == leases + 2
    bench.now += 60
    assert await bench.allowed(1) == 1
    assert bench.total(bench.now) == 150, "a quarter of what the minute before leased at a time"


async def test_limits_hold_for_more_requesters_than_a_gateway_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "_MOST_COUNTED", 10)
    monkeypatch.setattr(limiter, "_MOST_KNOWN", 10)
    bench = Bench(monkeypatch, amount=3)
    tokens = [f"token-{number}" for number in range(30)]
    passed = Counter[str]()
    for _ in range(5):
        for token in tokens:
            passed[token] += await is_allowed(bench.limiter, request(token))
    assert passed == dict.fromkeys(tokens, 3)
    assert len(bench.limiter._current) <= 10 >= len(bench.limiter._known)
