"""The command line: parses the arguments, runs one command, prints its text and returns its exit status."""

import argparse
import asyncio
import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence

from services.cli.connections import Unavailable
from services.cli.interrupts import INTERRUPTED
from services.cli.outcome import Outcome
from services.cli.parser import build
from services.cli.periods import BadTime
from shared.accounts_admin import AccountError

REFUSED, UNAVAILABLE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 refused or incomplete, 2 bad arguments or a service that does not answer."""
    if sys.stdout is None:  # closed by the caller; a new token printed nowhere would be lost
        return _fail("standard output is closed", UNAVAILABLE)
    _accept_any_text()
    options = build().parse_args(arguments)
    try:
        outcome = asyncio.run(_run(options))
        return _print(outcome)
    except AccountError as error:
        return _fail(str(error), REFUSED)
    except (Unavailable, BadTime) as error:
        return _fail(str(error), UNAVAILABLE)
    except KeyboardInterrupt:
        return INTERRUPTED


async def _run(options: argparse.Namespace) -> Outcome:
    # Imported when asked for: the ClickHouse client alone would slow every command down.
    module, name = options.command
    outcome: Outcome = await getattr(importlib.import_module(f"services.cli.{module}"), name)(options)
    return outcome


def _print(outcome: Outcome) -> int:
    try:
        sys.stdout.write(outcome.text)
        sys.stdout.flush()
        if outcome.note:
            _say(outcome.note)
    except BrokenPipeError:  # the reader left (`| head`)
        _discard_output()
    except OSError as error:
        _discard_output()
        return _fail(
            f"the output could not be written: {error.strerror}. What the command changed stands.", UNAVAILABLE
        )
    return outcome.status


def _accept_any_text() -> None:
    """Have characters escaped that the terminal's encoding lacks, instead of failing when all is done."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Send what Python would still flush at its end nowhere, quietly."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):
        _say(f"metrion: {message}")
    return status


def _say(text: str) -> None:
    if sys.stderr is not None:  # else print would write it among the output
        print(text, file=sys.stderr)
