"""On every path of a request, what it holds of budgets is let go, or kept for its row."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.limits.model import Limit
from tests.support import servers
from tests.support.gateway_app import plain, request, reset_connection, system

CHAT = "/api/proxy/openai/v1/chat/completions"
LIMIT = Limit("acme", "all", datetime.now(UTC), Decimal(100), measure="cost", period="month")
EXPECTED = 50_000_000  # of a request about which no logger has said anything
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
CACHED = b"x-metrion-cache: true\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "kept"),
    [
        (request("GET", "/api/proxy/openai/v1/models", body=b""), b"200", 0),
        (request(path="/api/proxy/anthropic/v1/messages/count_tokens"), b"200", 0),
        (request(headers=UPGRADE), b"426", 0),
        (request(path="/api/proxy/nowhere/v1"), b"404", 0),
        (request(), b"200", 1),
        (request(headers=CACHED), b"200", 1),
        (request(path="/api/proxy/mistral/v1/chat/completions"), b"502", 1),
    ],
)
async def test_request_holds_its_expected_cost_only_if_a_provider_was_called(
    sent: bytes, status: bytes, kept: int
) -> None:
    async with system() as metrion:
        metrion.tokens.limited = [LIMIT]
        assert (await metrion.send(sent)).split(b" ")[1] == status
        await _idle(metrion.proxy)
        holds = metrion.budgets.holds
        assert (holds.waiting, sum(holds.own.values()), holds.cost) == (kept, kept * EXPECTED, kept * EXPECTED)


@pytest.mark.parametrize("on_disconnect", ["drain", "cancel"])
@pytest.mark.parametrize("is_complete", [False, True])
async def test_client_that_leaves_leaves_no_hold_of_a_request_that_was_not_sent(
    is_complete: bool, on_disconnect: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    async with system(on_disconnect=on_disconnect) as metrion:
        metrion.tokens.limited = [LIMIT]
        metrion.upstream.respond = plain(head, pause=0.3, close=True)
        _, writer = await asyncio.open_connection("127.0.0.1", metrion.port)
        data = request(path=CHAT)
        writer.write(data if is_complete else data[:-5])
        await writer.drain()
        async with asyncio.timeout(servers.DEADLINE):
            while not (metrion.upstream.requests if is_complete else metrion.proxy.active):
                await asyncio.sleep(0.01)
        reset_connection(writer)
        await _idle(metrion.proxy)
        holds = metrion.budgets.holds
        assert (holds.waiting, sum(holds.own.values())) == (is_complete, is_complete * EXPECTED)


async def _idle(proxy: object) -> None:
    async with asyncio.timeout(servers.DEADLINE):
        while proxy.active:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
