"""The fence around unit tests: no network."""

import socket
from collections.abc import Iterator

import pytest

MOVE = "A unit test opened a network socket: it belongs in tests/integration."


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that opens a network socket; the Unix socket pairs of event loops are allowed."""
    opened: list[str] = []
    create = socket.socket.__init__

    def checked(
        self: socket.socket, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        if fileno is None and family != socket.AF_UNIX:
            opened.append(str(family))
            raise RuntimeError(MOVE)
        create(self, family, kind, proto, fileno)

    monkeypatch.setattr(socket.socket, "__init__", checked)
    yield
    assert not opened, MOVE
