"""Ports of tests: given once on a machine, and never one that the kernel gives to others."""

import socket
import subprocess
import sys

import pytest

from tests.support import paths, ports


def test_no_port_is_given_twice_even_to_another_process() -> None:
    program = "from tests.support import ports; print(*(ports.free_port() for _ in range(200)), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=paths.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = set(map(int, other.stdout.readline().split()))
        mine = {ports.free_port() for _ in range(200)}
        other.communicate("\n")
    assert len(mine) == len(theirs) == 200
    assert not mine & theirs


def test_port_on_which_somebody_listens_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = ports.free_port()
    ports._own.discard(taken)
    monkeypatch.setattr(ports, "_LOWEST", taken)
    monkeypatch.setattr(ports, "_HIGHEST", taken + 20)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", taken))
        listener.listen()
        assert ports.free_port() != taken
