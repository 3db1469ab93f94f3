"""Unit tests cannot open network sockets, by whatever module they try."""

import _socket
import asyncio
import socket
from collections.abc import Callable

import pytest

from tests.support.network_fence import forbid_network

OPENERS: dict[str, tuple[Callable[[], object], int]] = {
    "socket": (socket.socket, socket.AF_INET),
    "socket, IPv6": (lambda: socket.socket(socket.AF_INET6), socket.AF_INET6),
    "create_connection": (lambda: socket.create_connection(("127.0.0.1", 9)), socket.AF_INET),
    "_socket": (lambda: _socket.socket(), -1),
    "_socket, IPv6": (lambda: _socket.socket(socket.AF_INET6), socket.AF_INET6),
}


@pytest.mark.parametrize("name", OPENERS)
def test_a_network_socket_is_refused_and_noted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create, family = OPENERS[name]
    tried = forbid_network(monkeypatch)
    with pytest.raises(RuntimeError, match=r"tests/integration"):
        create()
    assert tried == [family]


def test_sockets_of_event_loops_are_allowed() -> None:
    first, second = socket.socketpair()
    with first, second, socket.socket(fileno=socket.dup(first.fileno())) as copy:
        copy.sendall(b"x")
        assert second.recv(1) == b"x"
    own = _socket.socket(socket.AF_UNIX)
    assert own.family == socket.AF_UNIX
    own.close()
    asyncio.run(asyncio.sleep(0))
