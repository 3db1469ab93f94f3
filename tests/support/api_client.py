"""A client of the dashboard's JSON API."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from shared import api_keys
from tests.support.dashboard_app import DashboardApp


class ApiResponse(msgspec.Struct):
    """What came back."""

    status: int
    text: str
    headers: Any

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.text)


class ApiClient:
    """Asks with an API key, or without one."""

    def __init__(self, dashboard: DashboardApp, key: str = "") -> None:
        self.url, self.key = dashboard.url, key

    async def ask(self, method: str, path: str, **more: Any) -> ApiResponse:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers |= more.pop("headers", {})
        async with (
            aiohttp.ClientSession(json_serialize=lambda value: msgspec.json.encode(value).decode()) as session,
            session.request(method, f"{self.url}/api/v1{path}", headers=headers, **more) as answer,
        ):
            return ApiResponse(answer.status, await answer.text(), answer.headers.copy())

    async def get(self, path: str, query: Mapping[str, str] | None = None, /, **more: str | int) -> ApiResponse:
        return await self.ask("GET", path, params={**(query or {}), **more})


async def client(dashboard: DashboardApp, name: str, *, role: str = api_keys.READ, account: str = "") -> ApiClient:
    """A client with a new key that the dashboard knows."""
    made = ApiClient(dashboard, await api_keys.create(dashboard.control.js, name=name, role=role, account=account))
    await dashboard.until_known(made.key)
    return made
