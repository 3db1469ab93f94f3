"""The MCP server with the official client, over HTTP and standard input: the API's figures, of what a key may see."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import TextContent

from services.dashboard.mcp import server as mcp_server
from services.dashboard.mcp import tools
from shared import api_keys
from tests.support import api_client, dashboard_app, servers
from tests.support.api_client import ApiClient
from tests.support.dashboard_app import DashboardApp

PERIOD = {"from": "2026-10-20", "to": "2026-11-12"}
SECONDS = servers.DEADLINE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    with (
        servers.nats_server(tmp_path_factory.mktemp("nats")) as nats,
        servers.clickhouse_server(tmp_path_factory.mktemp("clickhouse")) as clickhouse,
    ):
        asyncio.run(dashboard_app.create_data(nats, clickhouse.url("logger")))
        yield nats.url("dashboard"), clickhouse.url("reader")


@pytest.fixture
async def dashboard(house: tuple[str, str]) -> AsyncIterator[DashboardApp]:
    async with dashboard_app.running_dashboard(*house) as found:
        yield found


@contextlib.asynccontextmanager
async def over_http(key: ApiClient) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key.key}"}
    async with (
        create_mcp_http_client(headers=headers) as http,
        Client(streamable_http_client(f"{key.url}/mcp", http_client=http), read_timeout_seconds=SECONDS) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def over_stdio(*arguments: str, folder: Path, **environment: str) -> AsyncIterator[Client]:
    """`metrion mcp`; fails if anything but messages is on its standard output."""
    strange: list[Exception] = []

    async def check(message: Any) -> None:
        if isinstance(message, Exception):
            strange.append(message)

    kept = {name: value for name, value in os.environ.items() if not name.startswith("METRION_")}
    command = StdioServerParameters(
        command=str(servers.ROOT / ".venv" / "bin" / "metrion"),
        args=["mcp", *arguments],
        env=kept | {"METRION_DATA_DIR": str(folder)} | environment,
        cwd=folder,
    )
    async with Client(command, read_timeout_seconds=SECONDS, message_handler=check) as client:
        yield client
    assert not strange


async def call(client: Client, name: str, /, **arguments: Any) -> Any:
    """The answer of a tool, or the text of its error."""
    result = await client.call_tool(name, arguments)
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text if result.is_error else json.loads(content.text)


async def api(key: ApiClient, path: str, **query: Any) -> Any:
    answer = await key.get(path, PERIOD, **query)
    assert answer.status == 200, answer.text
    return answer.json


BY_MODEL = {"group_by": "model,day", "tz": "Asia/Kolkata", "account": dashboard_app.B, "limit": 30}
OPERATIONS: dict[
    str, tuple[str, dict[str, Any], dict[str, Any]]
] = {  # path, arguments of the tool, and of the operation
    "top_spenders": ("/usage", {}, {"group_by": "requester", "limit": 20}),
    "usage": ("/usage", BY_MODEL, BY_MODEL),
    "cost_changes": ("/changes", {}, {}),
    "usage_over_time": ("/series", {"by": "model"}, {"by": "model"}),
    "list_requests": ("/requests", {}, {"limit": 20}),
    **{name: (f"/{name}", {}, {}) for name in ("errors", "latency", "prices")},
}


async def operations(key: ApiClient) -> dict[str, Any]:
    """What the operation of each tool states."""
    found = {tool: await api(key, path, **query) for tool, (path, _, query) in OPERATIONS.items()}
    return found | {"completeness": (await key.get("/completeness")).json}


async def check_figures(client: Client, stated: dict[str, Any]) -> None:
    """Every tool states what its operation states."""
    assert "top_spenders" in (client.instructions or "")
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert listed.keys() == tools.TOOLS.keys()
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed.values())
    for tool, (_, arguments, _) in OPERATIONS.items():
        assert await call(client, tool, **PERIOD, **arguments) == stated[tool], tool
    assert {row["group"]["requester"] for row in stated["top_spenders"]["rows"]} == {
        f"requester-of-{one}" for one in (dashboard_app.A, dashboard_app.B)
    }
    assert stated["cost_changes"]["rows"]
    found = await call(client, "get_request", id=dashboard_app.REQUEST)
    assert found["id"] == dashboard_app.REQUEST and found["cost_by_class_usd"] is not None
    assert await call(client, "completeness") == stated["completeness"]


async def test_each_tool_states_the_api_s_figures_on_both_transports(
    dashboard: DashboardApp, house: tuple[str, str], tmp_path: Path
) -> None:
    key = await api_client.client(dashboard, "all")
    stated = await operations(key)
    async with over_http(key) as client:
        await check_figures(client, stated)
    async with over_stdio(folder=tmp_path, METRION_CLICKHOUSE_URL=house[1]) as client:
        await check_figures(client, stated)
        with anyio.move_on_after(0.001) as scope:
            await call(client, "top_spenders", **PERIOD)
        assert scope.cancelled_caught
        await check_hostile(client)
    assert list(tmp_path.iterdir()) == []


async def test_a_key_of_one_account_sees_nothing_else(dashboard: DashboardApp, tmp_path: Path) -> None:
    key = await api_client.client(dashboard, "of-a", account=dashboard_app.A)
    (of_b,) = (await api(await api_client.client(dashboard, "of-b", account=dashboard_app.B), "/requests", limit=1))[
        "rows"
    ]
    async with (
        over_http(key) as client,
        over_stdio("--url", dashboard.url, folder=tmp_path, METRION_API_KEY=key.key) as own,
    ):
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert listed == tools.TOOLS.keys() - {"completeness"}
        for one in (client, own):
            for name in listed - {"get_request"}:
                assert dashboard_app.B not in json.dumps(await call(one, name, **PERIOD)), name
                assert "access to this account" in await call(one, name, **PERIOD, account=dashboard_app.B), name
            spenders = await call(one, "top_spenders", **PERIOD, group_by="account")
            assert [row["group"] for row in spenders["rows"]] == [{"account": dashboard_app.A}]
            assert "permission" in await call(one, "completeness")
            assert "not found" in await call(one, "get_request", id=of_b["id"])
        await api_keys.revoke(dashboard.control.js, name="of-a", account=dashboard_app.A)
        await dashboard.until_known(key.key, is_valid=False)
        assert "unknown, expired or revoked" in await call(own, "usage")


async def check_hostile(client: Client) -> None:
    """What is wrong with arguments is said to the assistant, which can then correct them."""
    for arguments, words in (
        ({"grup_by": "model"}, "Unknown argument 'grup_by'. Valid are: group_by"),
        ({"group_by": ["model"]}, "group_by is a text or a number"),
        ({"group_by": "a'); DROP TABLE x --"}, "dimension"),
        ({"limit": 201}, "limit is at most 200"),
        ({"limit": "9" * 500}, "limit is at most 200"),
        ({"limit": True}, "limit is a text or a number"),
        ({"limit": -1}, "whole number"),
        ({"period": "last week"}, "period"),
        ({"tz": "Mars/Olympus"}, "time zone"),
        ({"requester": "x" * 10_000}, "longer than"),
        ({"requester": ["ann", ["bob"]]}, "requester is a text or a number"),
        ({"suffix": ".csv"}, "Unknown argument"),
    ):
        assert words in await call(client, "usage", **arguments), arguments
    for request_id in ("..", "../usage", "%2e%2e/usage", "\x00", "é?x=1#", "../../../metrics"):
        assert "not found" in await call(client, "get_request", id=request_id), request_id
    assert "id is missing" in await call(client, "get_request")
    with pytest.raises(MCPError, match="Unknown tool"):
        await client.call_tool("drop_table", {})


async def test_bad_messages_get_an_error_and_nothing_breaks(
    dashboard: DashboardApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await api_client.client(dashboard, "hostile")
    path = "/../../mcp"
    accept = {"Accept": "application/json, text/event-stream"}
    for data, status in (
        (b"{", 400),
        (b"[]", 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "' + b"x" * 100_000 + b'"}', 413),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "tools/' + b"x" * 1000 + b'"}', 200),
        ("[" * 20_000, 400),
    ):
        answer = await key.ask("POST", path, data=data, headers=accept | {"Content-Type": "application/json"})
        assert answer.status == status and "Traceback" not in answer.text, answer.text
        assert "error" in answer.text or answer.json["detail"]
    assert (await key.ask("GET", path)).status == 405
    assert (await ApiClient(dashboard).ask("POST", path, json={})).status == 401
    async with over_http(key) as client:
        await check_hostile(client)
        monkeypatch.setattr(mcp_server, "MOST_CHARACTERS", 1000)
        assert "but at most 1000 are allowed" in await call(client, "list_requests", **PERIOD)
        assert await asyncio.gather(*(call(client, "errors", period="1h") for _ in range(8)))
