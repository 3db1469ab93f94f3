"""Makes Ctrl-C end a command at once: quietly, with exit status 130, whatever it is doing.

Python turns an interrupt into an exception in the main thread. Libraries that wait may lose it there (asyncio.wait_for
does, before Python 3.12), swallow it or clean up for long. Here SIGINT is blocked in every thread but one, which does
nothing else than wait for it and then ends the process. Nothing has to be put in order but the terminal: every change
that a command makes is one message or one statement to a server.
"""

import contextlib
import os
import signal
import termios
import threading
from typing import Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT  # as shells count it


def end_at_once() -> None:
    """End the process at the next SIGINT. Call this before anything that takes time; it starts a thread."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return  # the parent wants it so: nohup, or a script's background job
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # threads that are started from now on inherit it
    threading.Thread(target=_wait, args=(_terminal(),), name="interrupts", daemon=True).start()


def _wait(terminal: tuple[int, list[Any]] | None) -> NoReturn:
    signal.sigwait({signal.SIGINT})
    if terminal is not None:
        _restore(*terminal)
    os._exit(INTERRUPTED)


def _terminal() -> tuple[int, list[Any]] | None:
    """The controlling terminal and its settings; None without one."""
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
    """Undo what a password prompt did: without this the shell would go on without an echo."""
    with contextlib.suppress(termios.error):
        if termios.tcgetattr(descriptor) != settings:  # setting them would stop a background process
            termios.tcsetattr(descriptor, termios.TCSANOW, settings)
            os.write(descriptor, b"\n")  # the prompt's line is left
