"""Running a service as a process: settings, signals, operations port, tasks."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec
import prometheus_client
import uvloop
from aiohttp import web

from shared import logging_setup, process_metrics
from shared import settings as settings_module
from shared.http_server import hide_software

log = logging.getLogger(__name__)
T = TypeVar("T", bound=msgspec.Struct)
_OPERATIONS_IDLE_SECONDS = 15.0  # idle timeout of a connection
_OPERATIONS_CONNECTIONS = 64  # maximum; a probe and a scrape need one each
Check = Callable[[], str]  # "" if healthy, else a short reason


def main(
    kind: type[T],
    run: Callable[[T, asyncio.Event], Awaitable[None]],
    *,
    service: str,
    check: Callable[[T], None] | None = None,
) -> None:
    """Entry point of `python -m services.NAME`.

    `--check` only validates and prints the settings. `check` examines what the settings refer to, such as files; its
    ValueError or OSError ends the start.
    """
    # 1. settings
    try:
        logging_setup.configure(settings_module.load(logging_setup.Settings, os.environ), service=service)
        loaded = settings_module.load(kind, os.environ)
        if check is not None:
            check(loaded)
    except (ValueError, OSError) as error:  # a SettingsError is a ValueError
        sys.exit(f"settings: {error}")
    if "--check" in sys.argv[1:]:
        sys.stdout.write(settings_module.render(loaded) + "\n")
        return
    # 2. run until a signal
    raise_open_files_limit()
    try:
        uvloop.run(_until_signalled(loaded, run))
    except OSError as error:
        sys.exit(f"cannot start: {error}")


def raise_open_files_limit() -> None:
    """Raise the soft limit of open files to the hard one: connections are files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # keep the soft limit; connection limits are derived from it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_limit() -> int:
    """The number of files that this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


async def _until_signalled(settings: T, run: Callable[[T, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


@contextlib.asynccontextmanager
async def operations(
    host: str, port: int, *, service: str, ready: Check, registry: prometheus_client.CollectorRegistry
) -> AsyncIterator[None]:
    """Serve /healthz, /readyz and /metrics while the block runs.

    /readyz returns 503 with the reason while `ready` returns one. Adds build, readiness, CPU and memory to `registry`.
    """
    process_metrics.process(registry, service=service, ready=ready)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        reason = ready()
        return web.Response(text=(reason or "ready") + "\n", status=503 if reason else 200)

    async def metrics(_: web.Request) -> web.Response:
        body = prometheus_client.generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=_OPERATIONS_IDLE_SECONDS)
    await runner.setup()
    hide_software(runner)
    server = runner.server
    assert server is not None

    def accept() -> asyncio.Protocol:
        connections = server.connections
        if len(connections) >= _OPERATIONS_CONNECTIONS:
            connections[0].force_close()  # the oldest; its client reconnects if needed
        return server()

    try:
        listener = await asyncio.get_running_loop().create_server(accept, host, port)
        try:
            yield
        finally:
            listener.close()
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def restart_on_failure(
    name: str, task: Callable[[], Awaitable[None]], *, pause: float = 1.0
) -> AsyncIterator[None]:
    """Run `task` in the background until the block ends.

    A failure is logged, and the task restarted after `pause` seconds.
    """

    async def loop() -> None:
        while True:
            try:
                await task()
                return
            except asyncio.CancelledError:
                raise
            except Exception:
                current = asyncio.current_task()
                if current is not None and current.cancelling():
                    return  # failed while being stopped
                log.exception("%s failed, restarting in %.1f s", name, pause)
                await asyncio.sleep(pause)

    running = asyncio.create_task(loop(), name=name)
    try:
        yield
    finally:
        await cancel_and_wait(running)


async def run_all(*work: Coroutine[Any, Any, None], again: float = 1.0) -> None:
    """Run coroutines concurrently; a failure cancels the others and is raised.

    A TaskGroup cancels each task only once, which may be too few: see `cancel_and_wait`.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await asyncio.gather(*(cancel_and_wait(task, again=again) for task in tasks))
    for task in done:
        task.result()


async def cancel_and_wait(task: asyncio.Task[Any], *, again: float = 2.5) -> None:
    """Cancel a task every `again` seconds until it finishes.

    Once may be too few: before Python 3.12 `wait_for` can swallow a cancellation that arrives just as nats-py connects.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=again)
    if not task.cancelled():
        task.exception()  # mark as retrieved, else asyncio logs it
