"""Starts the command line with interrupts held back from its first line on. Run by `python -S` (see the Makefile).

Python's own start and the import of site and runpy take a while, in which an interrupt would print a traceback or get
lost. Held back it takes effect as soon as `interrupts.end_at_once` waits for it.
"""

import _signal  # type: ignore[import-not-found]  # built in: signal itself would import enum first

_signal.pthread_sigmask(_signal.SIG_BLOCK, {_signal.SIGINT})

import os  # noqa: E402
import runpy  # noqa: E402
import site  # noqa: E402
import sys  # noqa: E402

sys.path[0] = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))  # noqa: PTH118, PTH120
site.main()
runpy.run_module("services.cli", run_name="__main__", alter_sys=True)
