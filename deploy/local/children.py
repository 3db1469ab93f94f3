"""Child processes that end with their parent, and free loopback ports."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def kill_with_parent(parent: int) -> Callable[[], None] | None:
    """A preexec function by which the kernel kills the child with its parent.

    None except on Linux. The kernel watches the thread that forked, so start children from a thread that lives as long
    as the process.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)  # load before the fork, after which little is safe

    def arrange() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between the fork and prctl
            os._exit(1)

    return arrange


def free_port() -> int:
    """A TCP port on 127.0.0.1 that is currently free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore connections in TIME_WAIT
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether a server listens on 127.0.0.1:`port`, even with a full backlog."""
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            probe.connect(("127.0.0.1", port))
        except TimeoutError:
            return True
        except OSError:
            return False
        return True
