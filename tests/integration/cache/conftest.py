"""Patience with NATS."""

import pytest

from tests.support import cache_replicas


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No write times out on a busy machine, and no lease ends by itself but where a test wants it."""
    cache_replicas.wait_long(monkeypatch)
