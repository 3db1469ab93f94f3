"""The dashboard's report pages over a ClickHouse, without sign-in: whoever is given as the viewer looks at them."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.dashboard.app_context import AppContext, User
from services.dashboard.application import application
from services.dashboard.auth.middleware import Authentication
from services.dashboard.auth.sessions import Sessions
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from tests.support import servers
from tests.support.page_markup import Page

VIEWER = web.AppKey("viewer", User)  # replace app_context.user by a lookup of this key


@contextlib.asynccontextmanager
async def browser(
    url: str, viewer: User | None = None, *, now: datetime, asked: QueryRunner | None = None
) -> AsyncIterator[TestClient[Any, Any]]:
    """A client of the dashboard over the ClickHouse at `url`."""
    runner = asked or QueryRunner(url, seconds=servers.DEADLINE)
    nats = NatsConnection()
    nobody = Authentication(nats=nats, sessions=Sessions(lambda: nats.js), sign_in=False)
    app = application(AppContext(runner=runner, clock=lambda: now), nobody)
    app[VIEWER] = viewer or User(name="admin")
    try:
        async with TestClient(TestServer(app)) as client:
            yield client
    finally:
        await runner.close()


async def get(client: TestClient[Any, Any], path: str, /, **query: str) -> Page:
    """The page at a path, which must be there."""
    async with client.get(f"{path}?{urlencode(query)}") as response:
        text = await response.text()
        assert response.status == 200, text
        return Page(text)


async def status(client: TestClient[Any, Any], path: str, /, **query: str) -> int:
    """The status of a path."""
    async with client.get(f"{path}?{urlencode(query)}") as response:
        return response.status
