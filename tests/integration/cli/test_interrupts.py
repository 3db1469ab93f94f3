"""Ctrl-C ends any command at once, quietly and with exit status 130, whatever the command and its libraries do."""

import contextlib
import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.interrupts import INTERRUPTED
from tests.support import interrupts, servers
from tests.support.interrupts import MODULE, interrupt, start

INFO = b'INFO {"server_id":"x","version":"2.15.1","proto":1,"max_payload":1048576}\r\n'


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(servers.DEADLINE)
        yield server


def port(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_an_interrupt_is_quiet_while_nats_owes_its_greeting(silent: socket.socket, tmp_path: Path) -> None:
    process = start((*MODULE, "token", "list"), tmp_path, METRION_NATS_URL=f"nats://127.0.0.1:{port(silent)}")
    with silent.accept()[0]:
        assert interrupt(process) == (INTERRUPTED, b"", b"")


def test_an_interrupt_is_quiet_while_nats_owes_a_response(silent: socket.socket, tmp_path: Path) -> None:
    process = start((*MODULE, "token", "list"), tmp_path, METRION_NATS_URL=f"nats://127.0.0.1:{port(silent)}")
    connection, _ = silent.accept()
    with connection:
        connection.sendall(INFO)
        received = b""
        while b"PING\r\n" not in received:  # the client library may be between two waits: an exception is lost there
            received += connection.recv(4096)
        assert interrupt(process) == (INTERRUPTED, b"", b"")


def test_an_interrupt_is_quiet_while_clickhouse_owes_a_response(silent: socket.socket, tmp_path: Path) -> None:
    process = start((*MODULE, "report"), tmp_path, METRION_CLICKHOUSE_URL=f"http://127.0.0.1:{port(silent)}")
    connection, _ = silent.accept()
    with connection:
        connection.recv(10)  # the query is on its way
        assert interrupt(process) == (INTERRUPTED, b"", b"")


def test_an_interrupt_is_quiet_while_the_reader_of_a_pipe_pauses(tmp_path: Path) -> None:
    process = start((*MODULE, "prices", "show", "--json"), tmp_path)
    assert process.stdout
    pipe = process.stdout.fileno()
    size = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    waiting = bytearray(4)
    servers.wait_for(  # 500 KB are to be printed: the command waits for room
        lambda: fcntl.ioctl(pipe, termios.FIONREAD, waiting) == 0 and int.from_bytes(waiting, "little") == size,
        "a full pipe",
        abort=lambda: process.poll() is not None,
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(servers.DEADLINE) == INTERRUPTED  # nothing is read before: the command could finish
    assert process.communicate()[1] == b""


SWALLOWS_EVERYTHING = """
from services.cli import interrupts
interrupts.end_at_once()
import time
print("ready", flush=True)
while True:
    try:
        time.sleep(3600)
    except BaseException:
        pass
"""
HOLDS_SIGNALS_BACK = """
from services.cli import interrupts
interrupts.end_at_once()
import signal, threading
signal.signal(signal.SIGINT, lambda *_: None)  # as asyncio.run does, with another handler
lock = threading.Lock()
lock.acquire()
print("ready", flush=True)
while True:
    lock.acquire()
"""


@pytest.mark.parametrize("program", [SWALLOWS_EVERYTHING, HOLDS_SIGNALS_BACK])
def test_no_library_can_swallow_an_interrupt(program: str, tmp_path: Path) -> None:
    process = start((sys.executable, "-c", program), tmp_path)
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    assert interrupt(process) == (INTERRUPTED, b"", b"")


def test_an_ignored_interrupt_stays_ignored() -> None:
    """A shell starts a script's background jobs so, and nohup does the like."""
    program = "from services.cli import interrupts\ninterrupts.end_at_once()\nprint('ready', flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=servers.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate(b"\n", timeout=servers.DEADLINE)
    assert process.returncode == 0


def test_an_interrupt_at_a_password_prompt_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(servers.ROOT)
        os.environ["METRION_DATA_DIR"] = str(tmp_path)
        os.execv(MODULE[0], [*MODULE, "account", "export", "x"])
    try:
        before = termios.tcgetattr(terminal)
        shown = b""
        while b"Passphrase: " not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, b"secret\x03")  # Ctrl-C
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 4096):
                shown += data
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == INTERRUPTED
        assert b"secret" not in shown and b"Traceback" not in shown
        assert termios.tcgetattr(terminal)[3] == before[3], "the echo is back"
    finally:
        os.close(terminal)


@pytest.mark.parametrize("name", sorted(interrupts.COMMANDS))
def test_an_interrupt_at_any_moment_is_quiet(name: str, tmp_path: Path) -> None:
    assert interrupts.faults(name, tmp_path, moments=6) == []
