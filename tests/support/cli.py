"""Runs `metrion` in a forked process, at a tenth of a new Python's CPU time."""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support import servers

_PRELOADED = (
    "services.cli.main",
    "services.cli.audit_log",
    "services.cli.clickhouse",
    "services.cli.layout",
    "services.cli.commands.report",
    "services.cli.commands.token",
    "services.cli.commands.query",
    "tests.support.cli",
)
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(_PRELOADED))


def run(*arguments: str, env: Mapping[str, str], stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command line in exactly this environment, at the root of the checkout, with `stdin` as a file."""
    with tempfile.TemporaryDirectory(prefix="metrion-cli-") as folder:
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        process = _context.Process(target=_main, args=(arguments, dict(env), files))
        process.start()
        process.join(servers.DEADLINE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, servers.DEADLINE)
        status = process.exitcode
        process.close()
        return subprocess.CompletedProcess(arguments, status, files[1].read_text(), files[2].read_text())


def _main(arguments: tuple[str, ...], environment: dict[str, str], files: list[Path]) -> None:
    """In the forked process."""
    os.chdir(servers.ROOT)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, (path, flags) in enumerate(zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True)
    from services.cli.main import main

    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    sys.stdout.flush()
    os._exit(status)
