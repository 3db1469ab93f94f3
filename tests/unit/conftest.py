"""The fence around unit tests: no network."""

from collections.abc import Iterator

import pytest

from tests.support.network_fence import MOVE, forbid_network


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that opens a network socket, even one that hides the error."""
    opened = forbid_network(monkeypatch)
    yield
    assert not opened, MOVE
