"""A dashboard in process over real servers with sample data, and an HTTP client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from services.dashboard import http_server, service
from services.dashboard.application import application
from services.dashboard.auth.api_keys import API_ACCESS
from services.dashboard.auth.middleware import Authentication
from services.dashboard.forms import NOTICE_COOKIE
from services.dashboard.nats_connection import NatsConnection
from services.dashboard.queries.runner import QueryRunner
from services.dashboard.service import Settings
from services.logger import schema
from services.logger.rows import ResponseRow
from shared import accounts_admin, clickhouse, dashboard_users, nats_client, passwords
from tests.support import history, sample_rows, servers

PASSWORD = "correct horse battery"
SECRET_KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
CHEAP = passwords.hashed(PASSWORD, n=1 << 4, p=1)
A, B = "team-a", "team-b"
PEOPLE = {  # name → (role, account)
    "admin": (dashboard_users.ADMIN, ""),
    "viewer": (dashboard_users.VIEWER, ""),
    "admin-a": (dashboard_users.ADMIN, A),
    "viewer-a": (dashboard_users.VIEWER, A),
}


# A request of A, for the page that shows one.
REQUEST = next(row.id for row in sample_rows.generate(0, account=A, count=60) if isinstance(row, ResponseRow))


class Browser:
    """Asks like a browser: with its cookies, from the page's own origin, and follows nothing."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url
        self.origin: dict[str, str] = {"Sec-Fetch-Site": "same-origin"}

    async def get(self, path: str, **headers: str) -> "PageResponse":
        return await self._ask("GET", path, headers={"Accept": "text/html,*/*"} | headers)

    async def post(self, path: str, form: Mapping[str, Any] | None = None, **headers: str) -> "PageResponse":
        return await self._ask("POST", path, headers=self.origin | headers, data=form or {})

    async def sign_in(self, name: str, password: str = PASSWORD, *, following: str = "/") -> "PageResponse":
        return await self.post("/signin", {"name": name, "password": password, "next": following})

    async def _ask(self, method: str, path: str, **more: Any) -> "PageResponse":
        async with self.session.request(method, self.url + path, allow_redirects=False, **more) as answer:
            is_done = answer.status == 303 and NOTICE_COOKIE in answer.cookies
            found = PageResponse(answer.status, await answer.text(), answer.headers.copy())
        return await self.get(found.headers["Location"]) if is_done else found


class PageResponse(msgspec.Struct):
    """What came back."""

    status: int
    text: str
    headers: Any


class DashboardApp:
    """A dashboard that runs, and its URL."""

    def __init__(self, app: web.Application, url: str, control: NatsConnection, door: Authentication) -> None:
        self.app, self.url, self.control, self.door = app, url, control, door
        self.port = int(url.rpartition(":")[2])
        self._browsers: list[aiohttp.ClientSession] = []

    async def browser(self, name: str = "") -> Browser:
        """A browser; signed in as `name`."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._browsers.append(session)
        browser = Browser(session, self.url)
        if name:
            answer = await browser.sign_in(name)
            assert answer.status == 303, answer.text
        return browser

    async def until_known(self, secret: str, *, is_valid: bool = True) -> None:
        """Wait until the dashboard knows an API key, or knows that it is no longer valid."""
        ring = self.app[API_ACCESS].ring
        async with asyncio.timeout(servers.DEADLINE):
            await ring.loaded.wait()
            while (ring.find(secret) is not None) != is_valid:
                await asyncio.sleep(0.005)

    async def until_connected(self, *, is_connected: bool = True) -> None:
        """Wait until the dashboard is connected to NATS, or has noticed that it no longer is."""
        async with asyncio.timeout(servers.DEADLINE):
            while self.control.connected != is_connected:
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        for session in self._browsers:
            await session.close()


@contextlib.asynccontextmanager
async def running_dashboard(
    nats: str, clickhouse_url: str, *, asked: QueryRunner | None = None, **settings: Any
) -> AsyncIterator[DashboardApp]:
    """A dashboard over these servers; what the logger makes must be there."""
    chosen = Settings(nats_url=nats, clickhouse_url=clickhouse_url, **{"secret_key": SECRET_KEY} | settings)
    control, asking = NatsConnection(), asked or QueryRunner(clickhouse_url, seconds=servers.DEADLINE)
    await control.connect(nats)
    door, site = service._authentication(chosen, control), service._app_context(chosen, asking, control)
    app = application(site, door)
    try:
        async with http_server.listen(app, "127.0.0.1", 0) as port:
            made = DashboardApp(app, f"http://127.0.0.1:{port}", control, door)
            try:
                yield made
            finally:
                await made.close()
    finally:
        await asking.close()
        await control.close()


async def create_accounts(nats: servers.NatsServer) -> None:
    """Streams, two accounts with a token each, and people."""
    await servers.provision(nats)
    admin = await nats_client.connect(nats.url("admin"), service="admin")
    js = admin.jetstream()
    for account in (A, B):
        await accounts_admin.ensure_account(js, account)
        await accounts_admin.create_token(
            js, account=account, name=f"token-of-{account}", requester=f"requester-of-{account}"
        )
    for name, (role, account) in PEOPLE.items():
        await dashboard_users.create(js, name=name, role=role, account=account, password=CHEAP)
    await admin.close()


async def create_data(nats: servers.NatsServer, clickhouse_url: str) -> None:
    """Streams, tables, two accounts with a token each, people, and rows of both accounts."""
    await create_accounts(nats)
    client = await clickhouse.connect(clickhouse_url, service="logger")
    await schema.apply(client)
    made = [
        msgspec.structs.replace(
            row, requester=f"requester-of-{account}", token=f"token-of-{account}", model=f"model-of-{account}"
        )
        for seed, account in enumerate((A, B))
        for row in sample_rows.generate(seed, account=account, count=60)
    ]
    await history.store(client, made)
    await client.close()
