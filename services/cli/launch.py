"""Starts the command line with SIGINT blocked, for the installed script.

During Python's startup and imports, an interrupt would print a traceback or get lost. The script runs `python -S -c`,
blocks SIGINT and imports this module; a pending interrupt takes effect when `interrupts.end_at_once` waits for it.
"""

import runpy
import site


def main() -> None:
    """Set up `site`, which `python -S` skips, and run `services.cli`."""
    site.main()
    runpy.run_module("services.cli", run_name="__main__", alter_sys=True)
