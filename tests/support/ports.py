"""Ports for servers of tests, which nothing else takes, not even between a server's end and its restart."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

# Below the range from which the kernel chooses ports of outgoing connections and of servers that ask for any.
_LOWEST, _HIGHEST = 20_000, 32_000
_own: set[int] = set()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that is free, and is given to no other test on this machine while this process lives."""
    first = random.randrange(_LOWEST, _HIGHEST)
    for port in (*range(first, _HIGHEST), *range(_LOWEST, first)):
        if _take(port):
            return port
    raise RuntimeError(f"no free port from {_LOWEST} to {_HIGHEST}")


def free_pair(distance: int) -> int:
    """A port that is free, as is the one so far above it; neither is given to another test."""
    while not _take(distance + (port := free_port())):
        pass
    return port


def _take(port: int) -> bool:
    if port in _own or not _lock(port) or not _can_listen(port):
        return False
    _own.add(port)
    return True


def _lock(port: int) -> bool:
    """Take the port's byte in a file that all tests share; the kernel gives it back when this process ends."""
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@cache
def _locks() -> int:
    path = Path(tempfile.gettempdir()) / f"metrion-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _can_listen(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
