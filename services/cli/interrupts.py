"""Makes Ctrl-C end a command at once, quietly, with exit status 130.

Python raises an exception in the main thread on SIGINT. Libraries may lose it (asyncio.wait_for does before Python
3.12), swallow it, or take long to clean up. So SIGINT is blocked in all threads but one, which waits for it and ends
the process. Only the terminal needs cleaning up: every change that a command makes is a single message or statement.
"""

import contextlib
import os
import signal
import termios
import threading
from typing import Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT  # as in shells


def end_at_once() -> None:
    """Start a thread that ends the process at the next SIGINT. Call it first."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return  # inherited: nohup, or a background job of a script
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited by threads started later
    threading.Thread(target=_wait, args=(_terminal(),), name="interrupts", daemon=True).start()


def _wait(terminal: tuple[int, list[Any]] | None) -> NoReturn:
    signal.sigwait({signal.SIGINT})
    if terminal is not None:
        _restore(*terminal)
    os._exit(INTERRUPTED)


def _terminal() -> tuple[int, list[Any]] | None:
    """Return the controlling terminal and its settings; None without one."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return descriptor, termios.tcgetattr(descriptor)
    except termios.error:
        os.close(descriptor)
        return None


def _restore(descriptor: int, settings: list[Any]) -> None:
    """Restore the terminal settings: a password prompt turns the echo off."""
    with contextlib.suppress(termios.error):
        if termios.tcgetattr(descriptor) != settings:  # tcsetattr would stop a background process
            termios.tcsetattr(descriptor, termios.TCSANOW, settings)
            os.write(descriptor, b"\n")  # leave the line of the prompt
