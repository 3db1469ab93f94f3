"""Main function of the command line: parses, runs a command, prints its result."""

import contextlib
import io
import os
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import click

from services.cli.app import metrion
from services.cli.errors import CommandError
from services.cli.interrupts import INTERRUPTED
from services.cli.outcome import Outcome

REFUSED = 1
UNAVAILABLE = 2
_CLEAR = "\x1b[H\x1b[2J"  # from the top left corner of an empty terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit status (`metrion --help` lists them)."""
    if sys.stdout is None:  # closed by the caller: a new token would be lost
        return _fail("standard output is closed", UNAVAILABLE)
    _accept_any_text()
    try:
        while True:
            parsed = _parse(arguments)
            if isinstance(parsed, int):
                return parsed
            outcome = _run(parsed)
            unwritable = _print(outcome)
            if unwritable is not None:
                return unwritable
            if outcome.again_in is None:
                return outcome.status
            time.sleep(outcome.again_in)
    except click.ClickException as error:
        return _usage_error(error)
    except CommandError as error:
        return _fail(str(error), error.status)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED


def _parse(arguments: Sequence[str] | None) -> int | Coroutine[Any, Any, Outcome]:
    """Return the command to run, or the exit status after --help or --version."""
    try:
        parsed: int | Coroutine[Any, Any, Outcome] = metrion.main(
            args=arguments, prog_name="metrion", standalone_mode=False
        )
    except OSError as error:  # from printing the help: no command has run yet
        return _unwritable(error)
    return parsed


def _run(command: Coroutine[Any, Any, Outcome]) -> Outcome:
    import asyncio

    try:
        return asyncio.run(command)
    except CommandError:
        raise
    except Exception as error:
        from shared.accounts_admin import AccountError  # imports the NATS client

        if isinstance(error, AccountError):
            raise CommandError(str(error)) from None
        raise


def _print(outcome: Outcome) -> int | None:
    """Print the result; returns an exit status if it cannot be written, or nobody reads it."""
    try:
        if outcome.again_in is not None:
            sys.stdout.write(_CLEAR if sys.stdout.isatty() else "\n")
        sys.stdout.write(outcome.text)
        sys.stdout.flush()
        if outcome.note:
            _print_note(outcome.note)
    except OSError as error:
        return _unwritable(error, status=outcome.status)
    return None


def _unwritable(error: OSError, *, status: int = 0) -> int:
    _discard_output()
    if isinstance(error, BrokenPipeError):  # the reader left (`| head`)
        return status
    return _fail(f"cannot write the output: {error.strerror}. Changes made by the command are kept.", UNAVAILABLE)


def _usage_error(error: click.ClickException) -> int:
    if sys.stderr is not None:  # else click would print the message among the output
        with contextlib.suppress(OSError):
            error.show()
    return error.exit_code


def _accept_any_text() -> None:
    """Escape characters that the output encoding lacks, instead of failing after the change."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Redirect standard output to /dev/null: Python flushes it again at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, status: int) -> int:
    with contextlib.suppress(OSError):
        _print_note(f"metrion: {message}")
    return status


def _print_note(text: str) -> None:
    if sys.stderr is not None:  # print would then write to standard output
        print(text, file=sys.stderr)
