"""Runs `metrion` in a forked process, at a tenth of a new Python's CPU time."""

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nats.aio.client import Client

from services.cli import nats_connection
from shared import cache_admin
from tests.support import jetstream_patience, servers

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


def wait_long() -> None:
    """Let commands wait for NATS as long as a busy machine takes."""
    nats_connection.CONNECT_S = nats_connection.RESPONSE_S = servers.DEADLINE
    jetstream_patience.wait_long()


def wait_for_both_replicas() -> None:
    """Let a command ask the cache again until two replicas have replied, which it waits half a second for."""
    gather = cache_admin._gather

    async def gathered(nc: Client, subject: str, data: bytes) -> list[bytes]:
        while len(replies := await gather(nc, subject, data)) < 2:
            pass
        return replies

    wait_long()
    cache_admin._gather = gathered


def run(
    *arguments: str, env: Mapping[str, str], stdin: str = "", prepare: Callable[[], None] = wait_long
) -> "subprocess.CompletedProcess[str]":
    """Run a command line in exactly this environment, at the root of the checkout, with `stdin` as a file.

    `prepare` is called in the process before: a function of a module.
    """
    with tempfile.TemporaryDirectory(prefix="metrion-cli-") as folder:
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_text(stdin)
        process = _context.Process(target=_main, args=(arguments, dict(env), files, prepare))
        process.start()
        process.join(servers.DEADLINE)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, servers.DEADLINE)
        status = process.exitcode
        process.close()
        return subprocess.CompletedProcess(arguments, status, files[1].read_text(), files[2].read_text())


def _main(
    arguments: tuple[str, ...], environment: dict[str, str], files: list[Path], prepare: Callable[[], None]
) -> None:
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

    prepare()
    try:
        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    sys.stdout.flush()
    os._exit(status)
