"""The dashboard without sign-in in process, at a chosen time."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from services.dashboard import app_context, currency
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from tests.support import servers

AFTER = datetime(2026, 12, 1, tzinfo=UTC)  # when all sample rows have come


@contextlib.asynccontextmanager
async def dashboard(
    url: str, *, now: datetime = AFTER, asked: QueryRunner | None = None
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of a dashboard over this ClickHouse; `now` is what its clock says."""
    asking = asked or QueryRunner(url, seconds=servers.DEADLINE)
    rates = currency.parse_rates(("EUR=0.92",))
    nats = NatsConnection()
    nobody = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    app = application(app_context.AppContext(runner=asking, currencies=rates, clock=lambda: now), nobody)
    try:
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        await asking.close()
