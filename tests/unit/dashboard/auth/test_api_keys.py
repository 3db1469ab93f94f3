"""The rate limit of API keys."""

import itertools

from services.dashboard.auth.api_keys import RateLimit


def test_a_key_gets_a_burst_and_then_its_rate_back() -> None:
    now = 1000.0
    limit = RateLimit(60, clock=lambda: now)
    assert [limit.take("a") for _ in range(61)] == [*itertools.repeat(0, 60), 1]
    assert limit.take("b") == 0, "each key has an allowance of its own"
    now += 2
    assert [limit.take("a") for _ in range(3)] == [0, 0, 1]
    now += 10_000
    assert [limit.take("a") for _ in range(61)] == [*itertools.repeat(0, 60), 1], "no more than a burst is saved up"


def test_a_slow_limit_states_how_long_to_wait() -> None:
    now = 0.0
    limit = RateLimit(1, clock=lambda: now)
    assert (limit.take("a"), limit.take("a")) == (0, 60)
    now = 59.5
    assert limit.take("a") == 1
    now = 60.0
    assert limit.take("a") == 0
