"""Starts the command line with interrupts held back from its first line on; see the installed script in the Makefile.

Python's own start and the imports take a while, in which an interrupt would print a traceback or get lost. The script
runs `python -S -c`, blocks SIGINT and imports this module; held back, an interrupt takes effect as soon as
`interrupts.end_at_once` waits for it.
"""

import runpy
import site


def main() -> None:
    """Do what `python -S` left out, and run `services.cli`."""
    site.main()
    runpy.run_module("services.cli", run_name="__main__", alter_sys=True)
