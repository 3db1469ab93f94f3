"""Commands of the CLI that get a SIGINT at any moment of their run."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from services.cli.interrupts import INTERRUPTED
from tests.support import servers

MODULE = (sys.executable, "-m", "services.cli")
# What the installed script runs.
START = """import _signal; _signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGINT})
import sys; sys.path[0] = sys.argv.pop(1)
from services.cli.launch import main; main()"""
LAUNCHER = (sys.executable, "-S", "-c", START, str(servers.ROOT))
COMMANDS: dict[str, tuple[str, ...]] = {
    "token": ("token", "list"),  # waits for NATS
    "report": ("report",),  # waits for ClickHouse
    "prices": ("prices", "show", "--json"),  # computes and prints
    "help": ("--help",),
}
_ENDS_BY_ITSELF = {"prices", "help"}


def start(command: tuple[str, ...], folder: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """A command in its own data directory, its output in pipes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    return subprocess.Popen(
        command,
        cwd=servers.ROOT,
        env={**kept, "METRION_DATA_DIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A test run may be a shell's background job, which ignores SIGINT and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupt(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    """Send one SIGINT; exit status, output and errors."""
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=servers.DEADLINE)
    return process.returncode, output, errors


def faults(name: str, folder: Path, *, moments: int, within: float = 0.5) -> list[str]:
    """Interrupt COMMANDS[name] at so many moments of its first seconds; what went otherwise than it must.

    Its servers accept connections and say nothing. Which line is interrupted depends on the machine; the result must not.
    """
    found = []
    for moment in range(moments):
        delay = within * moment / moments
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            urls = {"METRION_NATS_URL": f"nats://{address}", "METRION_CLICKHOUSE_URL": f"http://{address}"}
            process = start((*LAUNCHER, *COMMANDS[name]), folder, **urls)
            time.sleep(delay)
            status, _, errors = interrupt(process)
        if b"services" not in errors and (status == -signal.SIGINT or b"KeyboardInterrupt" in errors):
            continue  # before our first line: Python's own start ends at once too, in its own words
        if errors or (status != INTERRUPTED and not (status == 0 and name in _ENDS_BY_ITSELF)):
            found.append(f"{name} after {delay:.3f} s: status {status}, {errors.decode()[-500:]}")
    return found
