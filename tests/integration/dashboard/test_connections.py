"""Connections that never ask do not stay on the dashboard."""

import asyncio

import pytest
from aiohttp import web

from services.dashboard import http_server
from services.dashboard.mcp import http as mcp
from tests.support import servers


async def test_half_a_request_to_the_dashboard_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.3)
    app = web.Application()
    mcp.prepare(app)
    async with http_server.listen(app, "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await asyncio.wait_for(reader.read(), servers.DEADLINE) == b""
        writer.close()
