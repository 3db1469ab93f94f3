"""MCP over standard input and output, started by `metrion mcp`.

Reads ClickHouse itself, or asks a dashboard by an API key. Nothing but messages is written to standard output.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
from aiohttp import web
from mcp.server.stdio import stdio_server

from services.dashboard import currency
from services.dashboard.app_context import AppContext, User
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.mcp.caller import Caller, Get
from services.dashboard.mcp.server import build
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner

_QUERY_SECONDS = 20.0
_TIMEOUT = aiohttp.ClientTimeout(total=120, connect=10)


async def serve(url: str) -> None:
    """Serve until standard input ends. `url`: of a dashboard; "" to read ClickHouse."""
    async with _client(url, key=os.environ["METRION_API_KEY"]) if url else _own_application() as client:
        server = build(lambda _: Caller(User(), client))
        async with stdio_server() as (messages, answers):
            await server.run(messages, answers, server.create_initialization_options())


@contextlib.asynccontextmanager
async def _client(url: str, *, key: str = "", socket: str = "") -> AsyncIterator[Get]:
    """Ask the API at a URL, by a key or on a Unix socket."""
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connector = aiohttp.UnixConnector(socket) if socket else None
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=_TIMEOUT, trust_env=True) as session:

        async def get(path: str) -> tuple[int, bytes]:
            try:
                async with session.get(f"{url.rstrip('/')}{path}", allow_redirects=False) as response:
                    return response.status, await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                reason = f"The dashboard at {url} does not respond ({type(error).__name__})."
                return HTTPStatus.SERVICE_UNAVAILABLE, reason.encode()

        yield get


@contextlib.asynccontextmanager
async def _own_application() -> AsyncIterator[Get]:
    """Ask an application of this process: the same code, permissions and limits as in the dashboard."""
    nats = NatsConnection()  # never connected: nothing that is asked needs it
    runner = QueryRunner(
        os.environ["METRION_CLICKHOUSE_URL"],
        ca_file=os.environ.get("METRION_CLICKHOUSE_CA_FILE", ""),
        seconds=_QUERY_SECONDS,
    )
    rates = filter(None, os.environ.get("METRION_CURRENCY_RATES", "").split(","))
    context = AppContext(runner=runner, nats=nats, currencies=currency.parse_rates(tuple(rates)))
    auth = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    listening = web.AppRunner(application(context, auth), access_log=None, shutdown_timeout=1)
    with tempfile.TemporaryDirectory(prefix="metrion-mcp-") as folder:  # only this user may enter it
        socket = f"{folder}/socket"
        await listening.setup()
        try:
            await web.UnixSite(listening, socket).start()
            _end_at_signals(folder)
            async with _client("http://localhost", socket=socket) as get:
                yield get
        finally:
            await listening.cleanup()
            await runner.close()


def _end_at_signals(folder: str) -> None:
    """End at once at SIGTERM or SIGINT: a thread that waits for input cannot be cancelled."""

    def end(number: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)


def main() -> None:
    """Serve. Logs go to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else ""))


if __name__ == "__main__":
    main()
