"""Who balances load is told that a service is ready when it can be reached, and not before."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest

from services.dashboard import http_server
from services.dashboard import service as dashboard
from services.dashboard.service import Settings as DashboardSettings
from services.gateway import service as gateway
from services.gateway.settings import Settings as GatewaySettings
from tests.support import ports, servers
from tests.support.system import seed

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


async def said(port: int) -> tuple[int, str]:
    """What /readyz answers; (0, "") when nobody does."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status, (await answer.text()).strip()
    except aiohttp.ClientError:
        return 0, ""


async def until(port: int, wanted: tuple[int, str]) -> None:
    async with asyncio.timeout(60):
        while await said(port) != wanted:
            await asyncio.sleep(0.02)


async def slow_to_listen(
    patch: pytest.MonkeyPatch, module: ModuleType, name: str, run: Run, *, port: int, ops: int
) -> None:
    """A service, which listens when it has long been able to serve otherwise; and its stop.

    `name`: the function of `module` by which it listens.
    """
    stop, may, listen = asyncio.Event(), asyncio.Event(), getattr(module, name)

    @contextlib.asynccontextmanager
    async def slow(*arguments: Any) -> AsyncIterator[Any]:
        await may.wait()
        async with listen(*arguments) as found:
            yield found

    patch.setattr(module, name, slow)
    running = asyncio.create_task(run(stop))
    try:
        await until(ops, (503, "not listening yet"))
        await asyncio.sleep(0.3)
        assert await said(ops) == (503, "not listening yet")
        may.set()
        await until(ops, (200, "ready"))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    finally:
        may.set()
        stop.set()
        await running
    assert await said(ops) == (0, "")


async def test_a_gateway_is_not_ready_before_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.nats_server(tmp_path / "nats") as nats:
        await servers.provision(nats)
        await seed(nats)
        port, ops = ports.free_port(), ports.free_port()
        settings = GatewaySettings(
            nats_url=nats.url("gateway"), gateway_dir=tmp_path / "gateway", gateway_port=port, gateway_ops_port=ops
        )
        await slow_to_listen(
            monkeypatch, gateway, "_listen", lambda stop: gateway.run(settings, stop), port=port, ops=ops
        )


async def test_a_dashboard_is_not_ready_before_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    port, ops = ports.free_port(), ports.free_port()
    nobody = f"127.0.0.1:{ports.free_port()}"
    settings = DashboardSettings(
        nats_url=f"nats://x:y@{nobody}",
        clickhouse_url=f"http://x:y@{nobody}",
        dashboard_port=port,
        dashboard_ops_port=ops,
    )
    await slow_to_listen(
        monkeypatch, http_server, "listen", lambda stop: dashboard.run(settings, stop), port=port, ops=ops
    )
