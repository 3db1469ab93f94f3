"""The dashboard: settings in, pages on a port out; it reads ClickHouse and edits the accounts in NATS."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
import prometheus_client
from aiohttp import web

from services.dashboard import currency
from services.dashboard.application import application
from services.dashboard.books import Books
from services.dashboard.site import Site
from shared.process import operations
from shared.settings import setting

log = logging.getLogger(__name__)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can set."""

    nats_url: Annotated[str, setting("NATS server, with the dashboard's user and password", secret=True)]
    clickhouse_url: Annotated[str, setting("ClickHouse over HTTP, with a user that reads", secret=True)]
    dashboard_host: Annotated[str, setting("address to listen on")] = "127.0.0.1"
    dashboard_port: Annotated[int, setting("port of the dashboard", ge=0, le=65535)] = 8090
    ops_host: Annotated[str, setting("address of health, readiness and metrics")] = "127.0.0.1"
    dashboard_ops_port: Annotated[int, setting("port of health, readiness and metrics", ge=0, le=65535)] = 9083
    currency_rates: Annotated[
        tuple[str, ...], setting("what a dollar is in EUR and CHF, to show costs in them: EUR=0.92,CHF=0.88")
    ] = ()
    dashboard_query_seconds: Annotated[float, setting("how long a panel's question may take", gt=0)] = 5.0


def check(settings: Settings) -> None:
    """ValueError for a rate that is none."""
    currency.rates(settings.currency_rates)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. ClickHouse and NATS may come and go: a page says so."""
    registry = prometheus_client.CollectorRegistry()
    books = Books(settings.clickhouse_url, seconds=settings.dashboard_query_seconds)
    site = Site(books=books, currencies=currency.rates(settings.currency_rates))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(books.close)
        await stack.enter_async_context(
            operations(settings.ops_host, settings.dashboard_ops_port, ready=lambda: "", registry=registry)
        )
        await stack.enter_async_context(_listen(settings, site))
        log.info("listening on %s:%d", settings.dashboard_host, settings.dashboard_port)
        await stop.wait()


@contextlib.asynccontextmanager
async def _listen(settings: Settings, site: Site) -> AsyncIterator[None]:
    runner = web.AppRunner(application(site), access_log=None, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.dashboard_host, settings.dashboard_port).start()
        yield
    finally:
        await runner.cleanup()
