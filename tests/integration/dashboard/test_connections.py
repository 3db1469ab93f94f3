"""Connections that never ask do not stay on the dashboard."""

import asyncio

import pytest
from aiohttp import web

from services.dashboard import service
from services.dashboard.service import Settings


async def test_half_a_request_to_the_dashboard_is_closed_in_time(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_HEADER_SECONDS", 0.3)
    settings = Settings(nats_url="nats://x", clickhouse_url="http://x", dashboard_port=unused_tcp_port)
    async with service._listen(settings, web.Application()):
        reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
