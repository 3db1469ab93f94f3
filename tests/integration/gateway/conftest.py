"""Time as rate limiters see it."""

import pytest

from tests.support import rate_limits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Wall-clock time of the limiters, which does not pass by itself."""
    now = [rate_limits.MINUTE + 1]
    monkeypatch.setattr("services.gateway.limits.limiter.time.time", lambda: now[0])
    return now


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lease times out on a busy machine: what a timeout does is tested by itself."""
    rate_limits.wait_long(monkeypatch)
