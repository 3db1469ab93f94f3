"""A fence that keeps tests from opening network sockets."""

import _socket
import socket

import pytest

MOVE = "A unit test opened a network socket: it belongs in tests/integration."


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fail the creation of network sockets; returns the families that were tried.

    Unix sockets, which event loops need, are allowed. `socket.socket` looks up its base in `_socket` at each call.
    """
    opened: list[int] = []
    create = _socket.socket.__init__

    class Checked(_socket.socket):
        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
            if fileno is None and family != socket.AF_UNIX:
                opened.append(family)
                raise RuntimeError(MOVE)
            create(self, family, type, proto, fileno)

    monkeypatch.setattr(_socket, "socket", Checked)
    return opened
